"""Why a request is not answered with a decision. Each says whether anything may have happened: nothing has."""


class NotAnswered(Exception):
    """Base: the caller gets a gRPC error; nothing was approved under this identity by this call."""


class TransmissionTimeRefused(NotAnswered):
    """The transmission time lies too far from now (ISO 8583 DE7; DESIGN 3.4)."""


class Malformed(NotAnswered):
    """The authorization service of another process takes a field for wrong: no repeat will mend it."""


class ContentDiffers(NotAnswered):
    """The identity is taken by a request with other content."""


class Overloaded(NotAnswered):
    """An answer inside the budget is not to be expected: refused at once, to be sent again."""


class Unavailable(NotAnswered):
    """No durable decision could be had in time; the same request may be sent again and finds its decision."""


class NotFound(NotAnswered):
    """There is no such authorization for this acquirer and merchant."""
