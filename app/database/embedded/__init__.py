"""The Postgres that comes with Shelfcast, for whoever sets no SHELFCAST_DATABASE_URL.

`EmbeddedPostgres` starts it, watches over it and stops it; `opened` is for commands that need the database
for a moment, whether or not the service runs. Engines and tables live beside this folder, not in it.

  supervisor.py   the service's side: start or adopt, restart what died, stop in order
  postmaster.py   one postmaster process: command line, settings, waiting until it answers, ending it
  cluster.py      the data directory: made, checked, who may connect
  home.py         what lies around it: the lock on the home, the socket's directory, the OS account
"""

from app.database.embedded.home import EmbeddedPostgresError, HomeInUseError, binary
from app.database.embedded.supervisor import EmbeddedPostgres, opened, running_url

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "HomeInUseError", "binary", "opened", "running_url"]
