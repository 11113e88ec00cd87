"""What the relay and the plugin tell each other before the first call.

The relay sets variables in the environment. The plugin answers with one line on
standard output, which says where it listens and by which certificate it is to be
known. Both certificates are made for this one process and are the only ones that
the two trust.
"""

import base64
import datetime
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# The cookie tells a relay from a person at a shell. It is no secret.
COOKIE = ("CWTCH_RELAY_PLUGIN", "b3c1f0b1-6d0f-4c6a-9a0e-5f6f0a5a7f3e")

# The version of go-plugin's handshake line, and that of what is said within it.
CORE_PROTOCOL = 1
PROTOCOL = 1


class HandshakeError(Exception):
    """The environment is not that of a relay which this plugin can talk to."""


@dataclass(frozen=True)
class Invitation:
    """What the relay has put in the environment."""

    socket_dir: str
    client_certificate: bytes  # in PEM
    lifeline: int  # a file descriptor
    log_level: str

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Invitation | None":
        """Reads the environment; None when it is not that of a plugin at all."""
        name, value = COOKIE
        if environ.get(name) != value:
            return None
        versions = environ.get("PLUGIN_PROTOCOL_VERSIONS", "").split(",")
        if str(PROTOCOL) not in versions:
            raise HandshakeError(f"the relay speaks the protocols {versions}, this plugin {PROTOCOL}")
        try:
            return cls(
                socket_dir=environ["PLUGIN_UNIX_SOCKET_DIR"],
                client_certificate=environ["PLUGIN_CLIENT_CERT"].encode(),
                lifeline=int(environ["CWTCH_RELAY_PLUGIN_LIFELINE"]),
                log_level=environ.get("CWTCH_RELAY_PLUGIN_LOG_LEVEL", "info"),
            )
        except (KeyError, ValueError) as error:
            raise HandshakeError(f"the environment lacks {error}") from error


@dataclass(frozen=True)
class Identity:
    """The plugin's own key and certificate."""

    key: bytes  # in PEM
    certificate: x509.Certificate

    @classmethod
    def new(cls) -> "Identity":
        """Makes a pair for "localhost", the name by which the relay calls every
        plugin. It has to stand among the alternative names, a common name does not
        count; and the key is P-256 because that is quick everywhere."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=10 * 365))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(pem, certificate)

    def credentials(self, client_certificate: bytes) -> grpc.ServerCredentials:
        """Serves with this identity, to the holder of one certificate alone. The
        relay insists on TLS 1.3; grpcio has no setting for it."""
        chain = self.certificate.public_bytes(serialization.Encoding.PEM)
        return grpc.ssl_server_credentials(
            [(self.key, chain)], root_certificates=client_certificate, require_client_auth=True
        )

    def line(self, socket: str) -> str:
        """The handshake line, for a plugin that listens on socket."""
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        certificate = base64.b64encode(der).decode().rstrip("=")
        return f"{CORE_PROTOCOL}|{PROTOCOL}|unix|{socket}|grpc|{certificate}"
