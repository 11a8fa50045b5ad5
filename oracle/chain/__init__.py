"""
The chain side: reading it, following it, sending to it. Nothing here knows the store; the parts it needs are
protocols.
"""
