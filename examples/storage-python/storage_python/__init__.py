"""A storage plugin of cwtch-relay in Python: the same contract as the plugins
in Go, over gRPC, kept in SQLite.

Read it in this order:

    __main__    what happens when a relay starts the plugin
    handshake   what the two tell each other before the first call
    life        configured, drained, closed: the state of the plugin
    service     the services that the relay calls
    store       the store itself, the only module that is about envelopes

log is for lines that end up in the log of the relay. The package cwtch is made of
the .proto files when the plugin is built.
"""

VERSION = "1.0.0"
