"""Who we are, to a relay: certificate, newest prekey, and the answer to its greeting (SC1 §1, §2)."""

from collections.abc import Callable

from securechat.e2e.keystore import Secrets
from securechat.signed.certificates import prove_login
from securechat.wire.messages import VERSION, Hello, Renew


class Login:
    """The login of one key store."""

    def __init__(self, secrets: Secrets, now_ms: Callable[[], int], save: Callable[[], None]) -> None:
        """Take the keys, the clock, and what writes the store, at once: a prekey is kept before it is offered."""
        self._secrets = secrets
        self._now_ms = now_ms
        self._save = save

    def hello(self, fingerprint: bytes, nonce: bytes, exporter: bytes) -> Hello:
        """Answer a greeting. Raises what `save` does."""
        self.renewal()
        person, newest = self._secrets.person, self._secrets.ring.newest
        assert newest is not None
        proof = prove_login(person.device, person.certificate, fingerprint, nonce, exporter)
        return Hello(VERSION, person.certificate.packed, newest.packed, proof)

    def renewal(self) -> Renew | None:
        """Make a new prekey where it is time for one. Raises what `save` does."""
        record = self._secrets.ring.rotate(self._now_ms())
        if record is None:
            return None
        self._save()
        return Renew(record.packed)
