"""Posts between objects and rows."""

import json
import sqlite3

from daemon.journal.rows import Row, checksum
from daemon.ports import Outcome, Post, Result, State

_MUTABLE = 9  # columns before the state never change


def post_row(post: Post) -> Row:
    """The row of a new post."""
    outcome = post.outcome
    row = (
        post.seq,
        post.handler,
        post.place,
        post.run,
        post.group,
        post.name,
        post.mark,
        json.dumps(post.body),
        post.made,
        post.state,
        outcome.result if outcome else None,
        outcome.reason if outcome else "",
        json.dumps(post.answer),
        post.ended_at,
    )
    return (*row, checksum(*row))


def post_change(post: Post) -> Row:
    """The parameters that bring a stored post up to date."""
    row = post_row(post)
    return (*row[_MUTABLE:], row[0])


def rebuild_post(row: sqlite3.Row) -> Post:
    """A stored post. Raises ValueError if the record cannot be trusted."""
    values = tuple(row)
    if values[-1] != checksum(*values[:-1]):
        raise ValueError("the post's checksum is wrong")
    outcome = Outcome(Result(row["result"]), row["reason"]) if row["result"] else None
    return Post(
        handler=row["handler"],
        place=row["place"],
        run=row["run"],
        group=row["group"],
        name=row["name"],
        mark=row["mark"],
        body=json.loads(row["body"]),
        made=row["made"],
        state=State(row["state"]),
        outcome=outcome,
        answer=json.loads(row["answer"]),
        ended_at=row["ended_at"],
        seq=row["seq"],
    )
