"""HTTP: the server, who may connect, the routes, the status page."""
