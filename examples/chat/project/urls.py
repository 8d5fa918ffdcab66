"""Addresses of the chat, for HTTP and for WebSockets."""

from channels.security.websocket import WebsocketDenier
from chat import views
from chat.consumers import ChatConsumer
from django.urls import path, re_path

# ``path:`` rather than ``str:`` lets a room name with a slash reach the view, which explains what is wrong with it.
urlpatterns = [
    path("", views.start, name="start"),
    path("rooms/<path:room>/announce", views.announce, name="announce"),
    path("rooms/<path:room>/", views.room, name="room"),
]

# A room's page and its socket share one address: /rooms/<room>/?name=<name>
websocket_urlpatterns = [
    path("rooms/<path:room>/", ChatConsumer.as_asgi()),
    # Without a last route, URLRouter raises and the log fills with tracebacks of strangers' typing errors.
    re_path("", WebsocketDenier.as_asgi()),
]
