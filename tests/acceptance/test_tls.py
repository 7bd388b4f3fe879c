"""The daemon over TLS: a reload takes a renewed certificate over, and refuses one that cannot be used."""

from pathlib import Path

from tests.acceptance.desk import Desk
from tests.http.test_tls import certificate, fetch_status, serial


def test_a_certificate_is_renewed_by_a_reload(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "tls")
    http = {"tls_cert": str(cert), "tls_key": str(key)}
    with Desk(tmp_path, {}, mode="practice", hotkeys={"targets": {"main": "practice"}}, http=http) as desk:
        port = int(desk.status()["http"].rpartition(":")[2])
        first = serial(port)
        assert fetch_status(port, cert, desk.token) == 200
        certificate(tmp_path / "tls")
        assert serial(port) == first
        assert desk.request("POST", "/reload")[1]["status"] == "unchanged"
        second = serial(port)
        assert second != first
        assert fetch_status(port, cert, desk.token) == 200
        certificate(tmp_path / "tls")
        key.write_text("no key")
        code, answer = desk.request("POST", "/reload")
        assert (code, answer["status"]) == (422, "refused")
        assert "http.tls_cert" in answer["problems"][0]
        assert serial(port) == second
        certificate(tmp_path / "tls")
        del desk.config["http"]["tls_cert"], desk.config["http"]["tls_key"]
        answer = desk.reload()
        assert answer["status"] == "refused"
        assert "needs a restart" in answer["problems"][0]
        assert serial(port) == second


def test_an_address_on_the_network_needs_a_token(tmp_path: Path) -> None:
    http = {"host": "0.0.0.0", "allow_plaintext_lan": True}
    desk = Desk(tmp_path, {}, mode="practice", hotkeys={"targets": {"main": "practice"}}, http=http)
    process = desk.spawn()
    try:
        assert process.wait(20) == 78
    finally:
        desk.kill()
    assert "http.host: others on the network need a token: run `deskhand token add" in desk.log()
