"""What people wrote of the page: the rest of it comes from the run."""

INTRODUCTION = """\
What does a layer do when a receive is cancelled, when Redis restarts, when one consumer is slow? This page answers
{count} such questions for the layers of this package and for those that one finds on PyPI, by running them:
``make compare`` wrote it. The situations are those that users have reported, and some that were found while these
layers were made; the paragraphs below say what one notices.

*Passes* and **fails** are what happened in the run, with what was counted. *Cannot* means that a layer does not offer
what the situation needs, and :ref:`its entry <comparison-layers>` says what. It is no verdict: a library that only
broadcasts is right to do no more; what no layer of a table can do is not in it. Some failures are races. Their figures
differ from run to run, and a layer that passes in one run may fail in the next; ours have to pass in every run.
"""

SPEED = """\
In short, from :doc:`benchmarks/results`, which has the spread, the machine, the costs and the method. It is measured in
alternating rounds, each in a process of its own; only the ratios mean something. Of a rate more is better, of a latency
(us) less. A layer has to deliver every message to have a number there at all. What is marked *quick* was not on that
page, and is rough: it was measured with this one, by the benchmark's quick form.

.. image:: benchmarks/ratios.svg
   :alt: Ratio to the peer and ratio to reach, by workload; the table below holds the numbers

"""

WORSE = """\
* **Capacity is not that of the specification.** It is counted for each channel, not for all channels of a process. Who
  relies on a process being full as a whole has to set other numbers.
* **They are new.** channels_redis has run in production for years; what ours have instead are tests.
* **No history.** Litestar's layers can hand a new subscriber the latest messages of a channel. Ours cannot.
* **No other brokers.** Litestar and broadcaster also run on PostgreSQL, broadcaster on Kafka. Ours need Redis, or
  nothing. None of ours runs on Redis Cluster yet.
* **Rights.** On a Redis with access lists, ours need commands that channels_redis does not, Pub/Sub also scripts; such
  a list has to be extended (:ref:`redis-acl`).
* **IPC is for one machine**, for the processes of one user there, and not for Windows. It reserves some megabytes of
  shared memory for each layer object that receives.
* **A limit for messages.** Above 1 MiB of JSON they are refused. channels_redis carries what Redis does.
* **A thread and connections.** A process with a layer on Redis has one more thread, and each layer object up to five
  connections to each server, which stay open.
* **No mixing.** Processes with channels_redis and processes with ours do not understand each other; all change at once.
* **Strict values.** In memory, Channels passes on any Python object. Ours refuse there what a wire cannot carry, so a
  program that relied on it has to change.
* **Several servers cost.** A process reads from each of them, so its connections grow with their number; and direct and
  group messages of one writer may change places there.
* **Two deliveries are possible in one case**: what was taken from a normal channel within the replication lag before
  a failover may come again, because the replica does not know of it.
"""

METHOD = """\
Each situation is run for each layer in a fresh process, with fresh servers on free ports, and sometimes in further
processes. A message counts as lost when nothing came for three seconds after the last one. Limits of time are far above
what a layer needs, so that a busy machine changes no verdict.

Peers are in their current version with the current redis-py, and with the settings that they recommend, which their
entries above name. In particular, channels_redis and fast-channels get ``socket_timeout`` None, without which they fail
on idle, and most of the situations would only show that again; the one that asks about it uses the settings of their
quick start. Litestar's subscribers get a bounded backlog, which its documentation offers. Where the matter is not
capacity, every layer that has one gets a capacity that is not reached.

Litestar's channels and broadcaster have no channel that one could send to directly; what they call a channel is what a
group is here. The situations use groups wherever they can, so that these take part.

The numbers of rows refer to the list of complaints which this project began with; issues are named by repository and
number.

"""
