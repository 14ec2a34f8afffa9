"""Critical points: found, analysed, certified and left."""
