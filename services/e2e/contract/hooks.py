"""What the fuzzer must know beyond openapi.yaml: who calls what, and which orders, dishes and quotes there are.

The environment gives it CONTRACT_URL, the public API, and CONTRACT_ACCOUNTS, the platform's accounts.json.
Whatever is chosen here is chosen by the content of the case, so that a seed gives the same run again.
"""

import json
import os
import re
import threading
import time
import uuid
import zlib

import requests
import schemathesis

URL = os.environ["CONTRACT_URL"]
# The restaurant that the cases change, and one that they leave alone.
RESTAURANT, DISH = "rst_01", "itm_0109"
STEADY, STEADY_DISH = "rst_02", "itm_0201"
DOOR = {"lat": 53.9021, "lon": 9.9103, "street": "Hafenstrasse 12"}
PASSWORD = "correct horse battery"
ORDERS = 6
ID = re.compile(r"\A[A-Za-z0-9_-]{1,64}\Z")


def ask(method, path, token=None, **kwargs):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers.update(kwargs.pop("headers", {}))
    answer = requests.request(method, URL + path, headers=headers, timeout=20, **kwargs)
    answer.raise_for_status()
    return answer.json() if answer.content else None


class World:
    """An account for every role, and orders of the customer's. It is made at the first use, and once."""

    def __init__(self):
        with open(os.environ["CONTRACT_ACCOUNTS"]) as f:
            accounts = json.load(f)
        self.tokens, self.born, self.lock = {}, {}, threading.Lock()
        self.logins = {a["role"]: (a["email"], a["password"]) for a in reversed(accounts) if a["role"] in ("operator", "kitchen")}
        for role in ("customer", "courier"):
            email = f"contract-{role}-{uuid.uuid4().hex[:12]}@example.org"
            ask("POST", "/v1/users", json={"email": email, "password": PASSWORD, "name": f"Contract {role}", "role": role})
            self.logins[role] = (email, PASSWORD)
        self.address = ask("POST", "/v1/users/me/addresses", self.token("customer"), json={"street": "Hafenstrasse 12", "lat": 53.9, "lon": 9.9})["id"]
        self.orders = [self.order(RESTAURANT, DISH) for _ in range(ORDERS)]

    def token(self, role):
        with self.lock:
            if time.monotonic() - self.born.get(role, -1e9) > 300:
                email, password = self.logins[role]
                self.tokens[role] = ask("POST", "/v1/tokens", json={"email": email, "password": password})["access_token"]
                self.born[role] = time.monotonic()
            return self.tokens[role]

    def quote(self, restaurant=STEADY, dish=STEADY_DISH):
        body = {"restaurant_id": restaurant, "items": [{"item_id": dish, "quantity": 1}], "dropoff": DOOR}
        return ask("POST", "/v1/quotes", self.token("customer"), json=body)["token"]

    def order(self, restaurant, dish):
        headers = {"Idempotency-Key": f"contract-{uuid.uuid4().hex}"}
        body = {"quote": self.quote(restaurant, dish), "card": "card_ok"}
        return ask("POST", "/v1/orders", self.token("customer"), json=body, headers=headers)["id"]


_world, _lock = None, threading.Lock()


def world():
    global _world
    with _lock:
        if _world is None:
            _world = World()
        return _world


def choice(case, salt, many):
    """One of many, by the content of the case."""
    text = repr((salt, case.operation.label, case.path_parameters, case.query, case.body))
    return many[zlib.crc32(text.encode(errors="replace")) % len(many)]


@schemathesis.auth(refresh_interval=None)
class Role:
    """A token of a role that the operation is for, see x-roles."""

    def get(self, case, context):
        roles = case.operation.definition.raw.get("x-roles")
        return world().token(choice(case, "role", roles)) if roles else None

    def set(self, case, data, context):
        if data:
            case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Most generated ids name nothing. Three in four of those that could are replaced by what there is."""
    if not path_parameters:
        return path_parameters
    pick = zlib.crc32(repr(sorted(path_parameters.items())).encode(errors="replace"))
    if pick % 4 == 0:
        return path_parameters
    there = {
        "order": lambda: world().orders[pick % ORDERS],
        "restaurant": lambda: RESTAURANT,
        "item": lambda: DISH,
        "address": lambda: world().address,
        "type": lambda: "not-found",
        "app": lambda: "payment",
    }
    return {name: there[name]() if name in there and ID.match(str(value)) else value for name, value in path_parameters.items()}


def fits(text, most):
    return isinstance(text, str) and 0 < len(text) <= most


@schemathesis.hook
def map_body(context, body):
    """Two in three orders are placed with a genuine quote. What breaks the contract stays as it is: it is meant to."""
    if context.operation and context.operation.label == "POST /v1/orders" and isinstance(body, dict) and fits(body.get("quote"), 16384):
        if zlib.crc32(repr(body).encode(errors="replace")) % 3:
            body = {**body, "quote": world().quote()}
            if fits(body.get("card"), 64) and len(body["card"]) % 2:
                body["card"] = "card_ok"
    return body

