"""Certificates for tests, made by openssl, and clusters under mutual TLS."""
import os
import socket
import ssl
import subprocess

EXT = {"both": "serverAuth,clientAuth", "server": "serverAuth", "client": "clientAuth"}


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


class Authority:
    def __init__(self, directory, name="ca"):
        self.dir = directory
        self.name = name
        self.cert, self.key = self.path(f"{name}.pem"), self.path(f"{name}.key")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", self.key, "-out", self.cert,
                "-subj", f"/CN={name}", "-days", "30", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def path(self, name):
        return os.path.join(self.dir, name)

    def leaf(self, name, san="IP:127.0.0.1", use="both", key=("ec", "ec_paramgen_curve:prime256v1"), dates=None):
        """(certificate, key): files. dates: two YYYYMMDDHHMMSSZ."""
        cert, key_file, request, ext = (self.path(name + end) for end in (".pem", ".key", ".csr", ".ext"))
        options = ["-pkeyopt", key[1]] if len(key) > 1 else []
        openssl("genpkey", "-algorithm", key[0], *options, "-out", key_file)
        openssl("req", "-new", "-key", key_file, "-out", request, "-subj", f"/CN={name}")
        with open(ext, "w") as f:
            f.write(f"[v]\nbasicConstraints=CA:FALSE\nsubjectAltName={san}\n" + (f"extendedKeyUsage={EXT[use]}\n" if use else ""))
        if dates is None:
            openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-days", "20", "-out", cert,
                    "-extfile", ext, "-extensions", "v")
            return cert, key_file
        # Only `ca` takes dates in every version of openssl.
        config, base, serial = self.path(name + ".cnf"), self.path(name + ".db"), self.path(name + ".srl")
        open(base, "w").close()
        with open(serial, "w") as f:
            f.write("1000\n")
        with open(config, "w") as f:
            f.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={base}\nserial={serial}\nnew_certs_dir={self.dir}\ndefault_md=sha256\npolicy=p\n"
                    "unique_subject=no\n[p]\ncommonName=supplied\n")
        openssl("ca", "-batch", "-config", config, "-cert", self.cert, "-keyfile", self.key, "-in", request, "-out", cert, "-notext",
                "-startdate", dates[0], "-enddate", dates[1], "-extfile", ext, "-extensions", "v")
        return cert, key_file


def keys(ca, pair):
    return {"caCert": ca if isinstance(ca, str) else ca.cert, "cert": pair[0], "key": pair[1]}


def under_tls(ca, pair, piece=None):
    """The configuration of a daemon all of whose connections have certificates."""
    out = {"upload": {"server": keys(ca, pair), "client": keys(ca, pair)}, "scheduler": keys(ca, pair)}
    if piece:
        out["x"] = {"piece": {"tls": piece}}
    return out


def client_context(ca=None, pair=None, alpn=("h2",)):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    c.set_ciphers("DEFAULT@SECLEVEL=0")     # weak keys too
    if pair:
        c.load_cert_chain(*pair)
    if alpn:
        c.set_alpn_protocols(list(alpn))
    return c


def try_tls(port, context):
    """Shakes hands and waits for a byte: what came, or the error's text."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as raw, context.wrap_socket(raw) as s:
            s.settimeout(5)
            s.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            return s.recv(100) or "closed"
    except (OSError, ssl.SSLError) as e:
        return str(e) or type(e).__name__
