"""The program that pykv replaces: FastAPI over an OrderedDict, on uvicorn with uvloop and httptools.

Written as well as such a program can be: handlers are coroutines, so that none goes through a pool of
threads; answers are built by the json module's encoder rather than by a response model; the access log
is off. One worker, as its state lives in one process. It keeps no log at all.

    python baseline_fastapi.py PORT CAPACITY
"""

import json
import sys
from collections import OrderedDict

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel

CAPACITY = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
RAW = "application/octet-stream"

app = FastAPI(openapi_url=None)
store: OrderedDict[str, str] = OrderedDict()
encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Pair(BaseModel):
    """What POST takes."""

    key: str
    value: str


class Value(BaseModel):
    """What PUT takes as JSON."""

    value: str


def answer(body: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(encode(body), status_code=status, media_type="application/json")


def write(key: str, value: str) -> None:
    """Makes the key the most recently used and drops the least recently used one over the capacity."""
    store[key] = value
    store.move_to_end(key)
    if len(store) > CAPACITY:
        store.popitem(last=False)


@app.post("/kv/")
async def add(pair: Pair) -> Response:
    """Adds a new key."""
    if pair.key in store:
        raise HTTPException(409, "the key exists")
    write(pair.key, pair.value)
    return answer({"key": pair.key}, 201)


@app.get("/kv/")
async def list_keys(prefix: str = "", limit: int = 1000) -> Response:
    """Lists keys."""
    return answer({"keys": [key for key in store if key.startswith(prefix)][:limit]})


@app.get("/kv/{key:path}")
async def get(key: str, request: Request) -> Response:
    """Reads a key and makes it the most recently used."""
    value = store.get(key)
    if value is None:
        raise HTTPException(404, "no such key")
    store.move_to_end(key)
    if request.headers.get("accept") == RAW:
        return Response(value, media_type=RAW)
    return answer({"key": key, "value": value})


@app.put("/kv/{key:path}")
async def put(key: str, request: Request, upsert: bool = False) -> Response:
    """Updates a key, or adds it too where that is asked for."""
    if not upsert and key not in store:
        raise HTTPException(404, "no such key")
    body = await request.body()
    if request.headers.get("content-type") == RAW:
        value = body.decode()
    else:
        value = Value.model_validate_json(body).value
    write(key, value)
    return answer({"key": key})


@app.delete("/kv/{key:path}")
async def delete(key: str) -> Response:
    """Deletes a key."""
    if store.pop(key, None) is None:
        raise HTTPException(404, "no such key")
    return Response(status_code=204)


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        log_level="error",
        access_log=False,
    )
