"""Routes of this room: each parses, calls one function, answers."""

from fastapi import APIRouter

router = APIRouter(prefix="/v1")
