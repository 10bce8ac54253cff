"""Files of rows, in any of the formats that the API takes, brought to checked columns.

    async with received(request) as body:                      # spool.py: to disk, bounded, decompressed, hashed
        bad = BadRows()
        for piece in pieces(body, FIELDS, bad, key="sales"):   # reading.py: one format or another, checked columns
            piece.columns["sku"], piece.rows
        bad.refuse()                                           # one 422 that names every bad row

What the columns are is said by `Field` (fields.py), what is done with them is the matter of the room that asked.
"""
