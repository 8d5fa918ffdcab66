"""Settings of the chat: no database, no sessions, one channel layer."""

import os

from django.core.management.utils import get_random_secret_key

# This setting is all that the consumers know of our package; everything else is plain Channels. ``serve`` gives each
# port a prefix of its own. No group_expiry: a page joins its room once, when its socket opens, and may stay open for
# more than a day. A chat of short lines needs less memory than the layer takes by default.
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channel_layers.ipc.IPCChannelLayer",
        "CONFIG": {
            "prefix": os.environ.get("CHAT_PREFIX", "chat"),
            "group_expiry": None,
            "message_memory": 2 * 1024 * 1024,
        },
    },
}

ASGI_APPLICATION = "project.asgi.application"
ROOT_URLCONF = "project.urls"

# "daphne" comes first so that its reactor is installed before anything else imports Twisted;
# "channels" is here for its ``runworker`` command.
INSTALLED_APPS = ["daphne", "channels", "django.contrib.staticfiles", "chat"]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
STATIC_URL = "static/"

# A page error is logged to the terminal; visitors never see a traceback.
DEBUG = False
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    # A refused form is the visitor's matter, and the page tells them; 5xx answers are ERROR and stay visible.
    "loggers": {"django": {"level": "WARNING"}, "django.request": {"level": "ERROR"}},
}

# To show the chat to other machines: CHAT_HOSTS="192.168.1.20" python manage.py serve --host 0.0.0.0
ALLOWED_HOSTS = os.environ.get("CHAT_HOSTS", "localhost 127.0.0.1 [::1]").split()

# Nothing is signed here, so every process may draw a key of its own.
SECRET_KEY = get_random_secret_key()

USE_TZ = True
