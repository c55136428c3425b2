# ruff: noqa: S310, T201
"""Ask a URL until it answers 200, for some seconds at most; the arguments are the URL and the seconds."""

import sys
import time
import urllib.error
import urllib.request

url, seconds = sys.argv[1], float(sys.argv[2])
deadline = time.monotonic() + seconds
while True:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            print(f"{url} answers {answer.status}: the operator is ready")
            sys.exit(0)
    except urllib.error.HTTPError as error:
        problem = f"{url} answers {error.code}: {error.read(4096).decode(errors='replace').strip()}"
    except OSError as error:
        problem = f"{url} does not answer: {error}"
    if time.monotonic() >= deadline:
        sys.exit(f"{problem}; look at the log of the operator's pods")
    time.sleep(1)
