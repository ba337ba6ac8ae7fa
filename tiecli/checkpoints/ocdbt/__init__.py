"""OCDBT: the key-value database in which Orbax stores arrays, read and written without tensorstore.

A database is a directory with a `manifest.ocdbt`. The manifest points at the root of a tree of
nodes, the leaves of the tree say for each key in which file, where, and how long its value is;
short values stand in the leaves themselves.

Source: https://google.github.io/tensorstore/kvstore/ocdbt/, "Storage format".
"""
