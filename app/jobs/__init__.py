"""The queue, the worker and the child process that trains."""
