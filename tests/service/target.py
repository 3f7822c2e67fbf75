# SPDX-License-Identifier: LGPL-2.1-or-later
"""A service like many: Django with models, templates and a session, SQLAlchemy beside it, numpy arrays.

Serves some hundred requests through Django's WSGI handler, keeps caches as services do, says "ready".
"""
import io
import os
import signal
import sys

import django
import numpy
import sqlalchemy
from django.conf import settings

TEMPLATES = {
    "base.html": "<html><head><title>{% block title %}shop{% endblock %}</title></head>"
                 "<body>{% block body %}{% endblock %}</body></html>",
    "list.html": "{% extends 'base.html' %}{% block body %}<h1>{{ title|title }}</h1><ul>"
                 "{% for item in items %}<li>{{ forloop.counter }} {{ item.name|upper }} {{ item.price|floatformat:2 }}"
                 "{% if item.tags.all %} [{% for t in item.tags.all %}{{ t }}{% endfor %}]{% endif %}</li>"
                 "{% empty %}nothing{% endfor %}</ul>{% endblock %}",
    "form.html": "{% extends 'base.html' %}{% block body %}<form method=post>{% csrf_token %}{{ form.as_p }}</form>"
                 "{% endblock %}",
}

settings.configure(
    DEBUG=False, SECRET_KEY="not-secret", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "shop"],
    MIDDLEWARE=["django.middleware.security.SecurityMiddleware", "django.contrib.sessions.middleware.SessionMiddleware",
                "django.middleware.common.CommonMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {
        "loaders": [("django.template.loaders.locmem.Loader", TEMPLATES)]}}],
    CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
    LOGGING_CONFIG=None,
)
django.setup()

from django import forms  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.shortcuts import render  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import path  # noqa: E402
from shop.models import Item, Tag  # noqa: E402


class ItemForm(forms.Form):
    name = forms.CharField(max_length=100)
    price = forms.DecimalField()
    comment = forms.CharField(widget=forms.Textarea, required=False)


def item_list(request, page):
    request.session["page"] = page
    items = list(Item.objects.prefetch_related("tags")[page * 10 % 400 : page * 10 % 400 + 20])
    cache.set("page-%d" % page, items)
    return render(request, "list.html", {"items": items, "title": "page %d" % page})


def item_json(request, number):
    found = Item.objects.filter(pk=number).values("id", "name", "price").first()
    return JsonResponse({"item": found, "near": list(Item.objects.filter(pk__gt=number).values_list("name")[:5])})


def item_form(request):
    form = ItemForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        Item.objects.create(name=form.cleaned_data["name"], price=form.cleaned_data["price"])
    return render(request, "form.html", {"form": form})


urlpatterns = [path("list/<int:page>/", item_list), path("item/<int:number>/", item_json), path("new/", item_form)]


def serve():
    call_command("migrate", run_syncdb=True, verbosity=0)
    tags = [Tag.objects.create(word="tag%d" % i) for i in range(20)]
    for i in range(400):
        Item.objects.create(name="item %d" % i, price=i).tags.add(tags[i % 20], tags[i % 7])
    client = Client()
    for i in range(200):
        assert client.get("/list/%d/" % i).status_code == 200
        assert client.get("/item/%d/" % (i + 1)).status_code == 200
        if i % 4 == 0:
            assert client.post("/new/", {"name": "posted %d" % i, "price": "1.5"}).status_code == 200
    application = get_wsgi_application()
    for i in range(100):
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/list/%d/" % i, "SERVER_NAME": "here", "SERVER_PORT": "80",
                   "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr, "wsgi.url_scheme": "http",
                   "QUERY_STRING": "", "wsgi.version": (1, 0), "wsgi.multithread": False, "wsgi.multiprocess": False,
                   "wsgi.run_once": False}
        assert b"".join(application(environ, lambda *_: None))
    return client, application, tags


def query():
    from sqlalchemy import Column, ForeignKey, Integer, String
    from sqlalchemy.orm import Session, declarative_base, relationship

    Base = declarative_base()

    class Customer(Base):
        __tablename__ = "customer"
        id = Column(Integer, primary_key=True)
        name = Column(String(50))
        orders = relationship("Order", back_populates="customer")

    class Order(Base):
        __tablename__ = "order"
        id = Column(Integer, primary_key=True)
        what = Column(String(50))
        customer_id = Column(ForeignKey("customer.id"))
        customer = relationship("Customer", back_populates="orders")

    engine = sqlalchemy.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    session = Session(engine)
    for i in range(500):
        session.add(Customer(name="customer %d" % i, orders=[Order(what="thing %d" % k) for k in range(i % 5)]))
    session.commit()
    loaded = session.query(Customer).filter(Customer.id > 10).all()
    assert sum(len(c.orders) for c in loaded) > 900
    return engine, session, loaded


def arrays():
    keep = [numpy.arange(i * 10, dtype=numpy.float64) for i in range(1, 300)]
    keep += [numpy.zeros((100, 100)), numpy.ones(200000, dtype=numpy.int32), numpy.array(["a", "bcd"] * 500)]
    keep += [numpy.array([{"a": 1}, None, 3] * 100, dtype=object), keep[5][2:7], keep[50].reshape(-1, 2).T]
    keep.append(numpy.rec.fromrecords([(i, i * 0.5) for i in range(1000)], names="a,b"))
    return keep


KEEP = [serve(), query(), arrays()]
os.write(1, b"ready\n")
signal.pause()
