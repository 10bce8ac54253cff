"""Lines of versions: what a version came of, update by update, down to the one whose networks were trained (its root), and on.

A training that takes over what its champion had learned begins a new part of the same line: what was learned lives on, so the
record of it does too.
"""

TOOK_OVER = "config ? 'learned_until'"
"""SQL: whether a version has something that updates have learned. One that was trained took it over from the champion then."""


def line_of(start: str) -> str:
    """SQL of the recursive table `line`: the version `start` (SQL) and all that it came of, with the columns of `versions` and
    how many `trainings` lie between. Those of none are the version, its updates and, last, its root.

    Beyond a root that took something over lies the champion that it followed when it was published.
    """
    return f"""
        line AS (
            SELECT v.*, 0 AS trainings FROM versions v WHERE v.version = {start}
            UNION ALL
            SELECT v.*, l.trainings + CASE l.kind WHEN 'train' THEN 1 ELSE 0 END
            FROM line l JOIN versions v ON v.version = CASE
                WHEN l.kind = 'update' THEN l.parent
                WHEN l.{TOOK_OVER} THEN
                    (SELECT p.previous FROM promotions p WHERE p.version = l.version AND p.promoted_at = l.created_at)
                END)"""
