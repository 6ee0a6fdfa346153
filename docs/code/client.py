"""Asks the server of docs/code/server.c: client.py SOCKET PROMPT [--hang-up]"""
import socket
import sys
import time


def connect(path):
    """The server may be starting still."""
    for _ in range(100):
        talk = socket.socket(socket.AF_UNIX)
        try:
            talk.connect(path)
            return talk
        except OSError:
            talk.close()
            time.sleep(0.1)
    sys.exit(f"nobody listens at {path}")


path, prompt, *options = sys.argv[1:]
talk = connect(path)
talk.sendall(prompt.encode() + b"\n")
answer = talk.recv(1)
while "--hang-up" not in options and not answer.endswith(b"\n"):
    answer += talk.recv(4096)
print(prompt + answer.decode("utf-8", "replace").rstrip("\n"))
