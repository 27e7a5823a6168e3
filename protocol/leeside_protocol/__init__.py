"""The Leeside protocol as code: types, limits, errors, codecs, and rules without IO.

Server and SDK both stand on this package and never on each other. The chapters in `protocol/spec` are
the law; the vector files in `protocol/vectors` are how two implementations prove that they obey it.
"""
