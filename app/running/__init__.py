"""The processes of the service: the supervisor in the foreground, the API and the worker under it. Command: app/cli."""
