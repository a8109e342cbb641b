"""Directories of an object store, which a real daemon lists: dfget of both makes, and a small S3 server."""
import http.server
import os
import subprocess
import threading
import urllib.parse
from xml.sax.saxutils import escape

from lab import ANSI, Lab

FILES = {"p/a": b"A" * 10, "p/s/b": b"B" * 5000000, "p/s/d e.txt": b"blank", "p/%%x": b"percent", "q/other": b"no"}


class Store(http.server.BaseHTTPRequestHandler):
    """The bucket b: ListObjectsV2, HEAD and GET with ranges; who asks is not looked at."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args):
        pass

    def answer(self, status, body=b"", fields=()):
        self.send_response(status)
        for name, value in (("Content-Length", str(len(body))), *fields):
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def list(self, query):
        prefix, delimiter = (query.get(name, [""])[0] for name in ("prefix", "delimiter"))
        items, below = "", set()
        for key, content in FILES.items():
            rest = key[len(prefix):]
            if key.startswith(prefix) and delimiter and delimiter in rest:
                below.add(prefix + rest.split(delimiter)[0] + delimiter)
            elif key.startswith(prefix):
                items += (f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"x\"</ETag>"
                          f"<Size>{len(content)}</Size></Contents>")
        items += "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(below))
        self.answer(200, (f"<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>"
                          f"<Prefix>{escape(prefix)}</Prefix><IsTruncated>false</IsTruncated>{items}</ListBucketResult>").encode(),
                    (("Content-Type", "application/xml"),))

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        content = FILES.get(urllib.parse.unquote(url.path).removeprefix("/b/"))
        fields = (("ETag", '"e"'), ("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT"), ("Accept-Ranges", "bytes"))
        if "list-type" in query:
            self.list(query)
        elif content is None:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        elif "Range" in self.headers:
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            part = content[int(first):int(last or len(content)) + 1]
            self.answer(206, part, (*fields, ("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}")))
        else:
            self.answer(200, content, fields)

    do_HEAD = do_GET


def tree(directory):
    found = {}
    for path, _, names in os.walk(directory):
        for name in names:
            with open(os.path.join(path, name), "rb") as f:
                found[os.path.relpath(os.path.join(path, name), directory)] = f.read()
    return found


def add(case, seconds):
    @case("dfdaemon", "dfget")
    def directories_of_an_object_store(run):
        """dfget of both makes at a real daemon: the same files, the same refusals."""
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        below = {k.removeprefix("p/"): v for k, v in FILES.items() if k.startswith("p/")}
        try:
            with Lab(run.programs, ["ours-a", "real-a"]) as lab:
                real = next(p for p in lab.all if p.is_real)
                for flags, want, words in (((), below, ""), (("-I", "s/b"), {"s/b": FILES["p/s/b"]}, ""), (("--max-concurrent-requests", "1"), below, ""),
                                           (("--max-files", "3"), None, "exceeded the maximum download limit of 4 files"),
                                           (("-I", "none"), None, "")):
                    for make, program in (("ours", f"{run.programs.build}/dfget"), ("real", run.programs.dfget)):
                        out = lab.path(f"{make}{len(flags)}{''.join(flags).replace('/', '-')}")
                        os.mkdir(out)
                        p = subprocess.run([program, "s3://b/p", "-r", "-O", out, "-e", real.socket, "--storage-endpoint",
                                            f"http://127.0.0.1:{server.server_port}", "--storage-access-key-id", "k", "--storage-access-key-secret", "s",
                                            *flags], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
                        said = ANSI.sub("", p.stdout + p.stderr)
                        assert (p.returncode == 0) == (want is not None) and words in said, (make, flags, p.returncode, said)
                        assert want is None or tree(out) == want, (make, flags, sorted(tree(out)))
                    print(f"    ok {' '.join(flags) or 'all'}", flush=True)
        finally:
            server.shutdown()
            server.server_close()
