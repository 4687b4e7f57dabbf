"""Certificates and proxies: what is given counts, then what the environment says."""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from everstream import AsyncClient, AsyncDurableStream, Client, DurableStream, InvalidArgumentError, NetworkError, Retry
from everstream.testing import Server

from .scripted import Scripted, head

ONCE = Retry(max_retries=0)
TWICE = Retry(max_retries=1)
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUEST_METHOD")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@dataclass(frozen=True)
class Certificates:
    """Files of one authority, of a server at 127.0.0.1, and of a client (certificate and key in one file)."""

    authority: Path
    server: Path
    client: Path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "7")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority")
    for name, extension in (("server", "subjectAltName=IP:127.0.0.1"), ("client", "extendedKeyUsage=clientAuth")):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / f"{name}.ext").write_text(extension)
        sign = ("-req", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "7", "-extfile", f"{name}.ext")
        openssl("x509", *sign, "-in", f"{name}.csr", "-out", f"{name}.crt")
        (folder / f"{name}.pem").write_bytes(
            (folder / f"{name}.crt").read_bytes() + (folder / f"{name}.key").read_bytes()
        )
    return Certificates(folder / "ca.pem", folder / "server.pem", folder / "client.pem")


@contextlib.contextmanager
def tls_server(certificates: Certificates, *, ask_for_client: bool = False) -> Iterator[Scripted]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server)
    if ask_for_client:
        context.load_verify_locations(certificates.authority)
        context.verify_mode = ssl.CERT_REQUIRED
    with Scripted(lambda request: [head()], context) as server:
        yield server


def test_an_unknown_certificate_is_refused_at_once(certificates: Certificates) -> None:
    with tls_server(certificates) as server:
        with pytest.raises(NetworkError, match="certificate is not trusted"):
            DurableStream(server.url).head()
        assert server.requests == []
        assert server.connections == 1


def test_a_host_that_was_trusted_before_is_tried_again(certificates: Certificates) -> None:
    with tls_server(certificates) as server:
        assert server.tls is not None
        # Without them each connection has to show the certificate.
        server.tls.num_tickets = 0
        handle = Client(verify=certificates.authority).handle(server.url, retry=TWICE)
        assert handle.head().exists
        # It is for nobody's name.
        server.tls.load_cert_chain(certificates.client)
        server.hang_up()
        with pytest.raises(NetworkError, match="(?i)certificate"):
            handle.head()
        assert len(server.requests) == 1
        assert server.connections == 1 + 2


@pytest.mark.parametrize("as_text", [True, False])
def test_verify_is_a_file_of_certificates_to_trust(as_text: bool, certificates: Certificates) -> None:
    verify = str(certificates.authority) if as_text else certificates.authority
    with tls_server(certificates) as server:
        assert Client(verify=verify).handle(server.url).head().content_type == "text/plain"


async def test_the_asyncio_client_too(certificates: Certificates) -> None:
    with tls_server(certificates) as server:
        handle = AsyncClient(verify=certificates.authority).handle(server.url)
        assert (await handle.head()).content_type == "text/plain"


def test_the_name_in_the_certificate_counts(certificates: Certificates) -> None:
    with tls_server(certificates) as server:
        elsewhere = server.url.replace("127.0.0.1", "localhost")
        with pytest.raises(NetworkError, match="(?i)certificate"):
            Client(verify=certificates.authority).handle(elsewhere, retry=ONCE).head()


@pytest.mark.parametrize("trust_env", [True, False])
def test_ssl_cert_file_is_heeded(trust_env: bool, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by everything that uses TLS; `trust_env` is about proxies."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    with tls_server(certificates) as server:
        assert Client(trust_env=trust_env).handle(server.url).head().exists


def test_a_client_certificate_is_shown(certificates: Certificates) -> None:
    with tls_server(certificates, ask_for_client=True) as server:
        with pytest.raises(NetworkError):
            Client(verify=certificates.authority).handle(server.url, retry=ONCE).head()
        client = Client(verify=certificates.authority, cert=certificates.client)
        assert client.handle(server.url).head().exists


def test_a_client_certificate_that_the_server_does_not_take_is_told_at_once(certificates: Certificates) -> None:
    with tls_server(certificates, ask_for_client=True) as server:
        trusting = Client(verify=certificates.authority)
        with pytest.raises(NetworkError, match="does not take the client's certificate") as refused:
            trusting.handle(server.url, content_type="text/plain").append("x")
        assert not refused.value.outcome_unknown
        assert server.connections == 1
        assert server.requests == []


def test_files_that_are_not_there_or_not_certificates_are_refused_at_once(
    certificates: Certificates, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        Client(verify=tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        Client(cert=tmp_path / "missing")
    (tmp_path / "text").write_text("no certificate")
    with pytest.raises(InvalidArgumentError):
        Client(verify=tmp_path / "text")
    with pytest.raises(InvalidArgumentError):
        Client(cert=tmp_path / "text")
    with pytest.raises(ValueError, match="verify=False is not supported"):
        Client(verify=False)


class Proxy:
    """An HTTP proxy: forwards absolute requests and opens tunnels. Notes the first line and headers of connections."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            intro = b""
            while b"\r\n\r\n" not in intro:
                intro += client.recv(65536)
            self.seen.append(intro.split(b"\r\n\r\n")[0].decode())
            method, target = intro.split(b" ", 2)[:2]
            place = target if method == b"CONNECT" else target.split(b"/")[2]
            host, port = place.decode().rsplit(":", 1)
            upstream = socket.create_connection((host, int(port)))
            self._sockets += [client, upstream]
            if method == b"CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                upstream.sendall(intro)
            threading.Thread(target=_copy, args=(upstream, client), daemon=True).start()
            _copy(client, upstream)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            each.close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy()
    yield proxy
    proxy.close()


def test_everything_goes_through_the_proxy_given(proxy: Proxy, durable_stream_url: str) -> None:
    client = Client(proxy=proxy.url)
    handle = DurableStream.create(durable_stream_url, content_type="application/json", client=client)
    with handle.producer("p") as producer:
        producer.append(1)
    with handle.stream() as response:
        assert next(response.iter_json()) == 1
    assert proxy.seen[0].startswith(f"PUT {durable_stream_url} HTTP/1.1\r\n")


async def test_everything_of_asyncio_too(proxy: Proxy, durable_stream_url: str) -> None:
    handle = await AsyncDurableStream.create(durable_stream_url, client=AsyncClient(proxy=proxy.url))
    assert (await handle.head()).exists
    assert proxy.seen[0].startswith(f"PUT {durable_stream_url} HTTP/1.1\r\n")


def test_a_tunnel_carries_tls(proxy: Proxy, certificates: Certificates) -> None:
    with tls_server(certificates) as server:
        client = Client(proxy=proxy.url, verify=certificates.authority)
        assert client.handle(server.url).head().exists
    assert proxy.seen[0].startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n")


def test_the_proxy_is_told_name_and_password_and_the_server_is_not(
    proxy: Proxy, certificates: Certificates, durable_stream_url: str
) -> None:
    client = Client(proxy=f"http://me:secret@{proxy.address}", verify=certificates.authority)
    expected = "proxy-authorization: Basic " + base64.b64encode(b"me:secret").decode()
    with tls_server(certificates) as server:
        client.handle(server.url).head()
        assert "proxy-authorization" not in server.requests[0].headers
    client.handle(durable_stream_url).create_stream()
    assert [expected.lower() in seen.lower() for seen in proxy.seen] == [True, True]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_the_environment_names_the_proxy(
    name: str, proxy: Proxy, durable_stream_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, proxy.url)
    Client().handle(durable_stream_url).create_stream()
    assert len(proxy.seen) == 1
    Client(trust_env=False).handle(durable_stream_url).head()
    assert len(proxy.seen) == 1


def test_https_proxy_is_for_https(proxy: Proxy, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    with tls_server(certificates) as server, Scripted(lambda request: [head()]) as plain:
        client = Client(verify=certificates.authority)
        assert client.handle(plain.url).head().exists
        assert proxy.seen == []
        assert client.handle(server.url).head().exists
    assert len(proxy.seen) == 1


def test_no_proxy_is_heeded(proxy: Proxy, durable_stream_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Client().handle(durable_stream_url).create_stream()
    assert proxy.seen == []


def test_a_proxy_given_counts_more_than_the_environment(
    proxy: Proxy, durable_stream_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    Client(proxy=proxy.url).handle(durable_stream_url).create_stream()
    assert len(proxy.seen) == 1


def test_a_proxy_that_is_not_there_is_a_network_error(durable_stream_url: str) -> None:
    with pytest.raises(NetworkError) as caught:
        Client(proxy="http://me:secret@127.0.0.1:1").handle(durable_stream_url, retry=ONCE).head()
    assert "secret" not in str(caught.value)


def test_http2_by_prior_knowledge_works_with_our_server(durable_stream_server: Server, durable_stream_url: str) -> None:
    handle = DurableStream.create(durable_stream_url, content_type="application/json", client=Client(http2=True))
    with handle.producer("p", linger_ms=0, max_batch_items=1) as producer:
        for number in range(100):
            producer.append(number)
    with handle.stream(live="sse") as response:
        items = response.iter_json()
        assert [next(items) for _ in range(100)] == list(range(100))
        assert response.status == 200


def test_http2_by_prior_knowledge_begins_with_the_preface() -> None:
    with Scripted(lambda request: [b""]) as server:
        with pytest.raises(NetworkError):
            Client(http2=True).handle(server.url, retry=ONCE, timeout=1).head()
        assert server.requests[0].method == "PRI"
    with Scripted(lambda request: [head()]) as server:
        Client().handle(server.url).head()
        assert server.requests[0].method == "HEAD"
