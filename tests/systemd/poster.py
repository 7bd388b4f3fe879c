"""Posts events over TCP, each on a connection of its own, until it is told to stop; with the standard library only.

    python poster.py PORT TOKEN_FILE RATE     one JSON line per attempt on standard output: id, status or error

An attempt that was refused or broken off is made again under the same id until there is an answer.
"""

import http.client
import json
import sys
import threading
import time
from pathlib import Path


def attempt(port: int, token: str, event: dict[str, object]) -> str:
    """One request: its HTTP status, or the name of what went wrong."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", "/events", json.dumps(event), {"Authorization": f"Bearer {token}"})
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def main() -> None:
    """Until standard input closes."""
    port, token, gap_s = int(sys.argv[1]), Path(sys.argv[2]).read_text().strip(), 1 / float(sys.argv[3])
    done = threading.Event()

    def watch() -> None:
        sys.stdin.read()
        done.set()

    threading.Thread(target=watch, daemon=True).start()
    number = 0
    while not done.is_set():
        number += 1
        event: dict[str, object] = {"type": "entry", "symbol": "AAPL", "id": f"tcp{number}", "ts": time.time()}
        event["trade_id"] = event["id"]
        for _ in range(100):
            said = attempt(port, token, event)
            print(json.dumps({"id": event["id"], "said": said}), flush=True)
            if said.isdigit() and int(said) < 500:
                break
            time.sleep(0.05)
        done.wait(gap_s)


if __name__ == "__main__":
    main()
