"""The pages, and a sync view that speaks to a room."""

from urllib.parse import urlencode

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from chat import rules


@require_GET
def start(request: HttpRequest) -> HttpResponse:
    """Choose a name and a room; the form comes back here, and goes on to the room if both are good."""
    if "name" not in request.GET:
        return _start_page(request)
    try:
        name = rules.clean_name(request.GET["name"])
        chosen = rules.clean_room(request.GET.get("room", ""))
    except rules.BadInput as refusal:
        return _start_page(request, error=str(refusal))
    return redirect(f"{reverse('room', args=[chosen])}?{urlencode({'name': name})}")


@require_GET
def room(request: HttpRequest, room: str) -> HttpResponse:
    """The conversation; its script opens a socket at this very address."""
    try:
        chosen = rules.clean_room(room)
    except rules.BadInput as refusal:
        return _start_page(request, error=str(refusal))
    try:
        name = rules.clean_name(request.GET.get("name", ""))
    except rules.BadInput:
        # Somebody followed a link to the room: who are they?
        return redirect(f"{reverse('start')}?{urlencode({'room': chosen})}")
    return render(request, "chat/room.html", {"room": chosen, "name": name, "rules": rules})


# Exempt, so that curl needs no token. There is no login and no cookie to borrow, but there is reach: a visitor's
# browser gets at addresses, such as 127.0.0.1, that other sites do not. So what their pages make it post is refused by
# its Origin, a header that browsers send with every POST, and curl does not.
@csrf_exempt
@require_POST
def announce(request: HttpRequest, room: str) -> JsonResponse:
    """Post to a room from ordinary sync code."""
    origin = request.headers.get("origin")
    # "null" has no host; it stands for pages that keep their origin to themselves.
    if origin is not None and origin.partition("://")[2] != request.get_host():
        return JsonResponse({"error": "Pages of other sites may not post here."}, status=403)
    try:
        chosen = rules.clean_room(room)
        text = rules.clean_text(request.POST.get("text"))
    except rules.BadInput as refusal:
        return JsonResponse({"error": str(refusal)}, status=400)
    layer = get_channel_layer()
    event = {"event": "announcement", "text": text}
    async_to_sync(layer.group_send)(rules.group_name(chosen), {"type": "room.event", "event": event})
    return JsonResponse({"room": chosen, "text": text})


def _start_page(request: HttpRequest, error: str = "") -> HttpResponse:
    context = {"name": request.GET.get("name", ""), "room": request.GET.get("room", ""), "error": error, "rules": rules}
    return render(request, "chat/start.html", context, status=400 if error else 200)
