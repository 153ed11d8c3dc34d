"""A fleet of real processes under load while its parts are killed, hung and drained: is any answer lost?"""
