"""hand_over.py give PATH HOST PORT: connects to a server, and hands the connection to whoever asks for it at the Unix
socket PATH. hand_over.py take PATH: asks for it, fetches /file over it by HTTP, and prints how many bytes came."""
import socket
import sys

if sys.argv[1] == "give":
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[2])
    listener.listen()
    connection = socket.create_connection((sys.argv[3], int(sys.argv[4])))
    print("ready", flush=True)
    taker = listener.accept()[0]
    socket.send_fds(taker, [b"x"], [connection.fileno()])
else:
    giver = socket.socket(socket.AF_UNIX)
    giver.connect(sys.argv[2])
    connection = socket.socket(fileno=socket.recv_fds(giver, 1, 1)[1][0])
    connection.sendall(b"GET /file HTTP/1.0\r\n\r\n")
    total = 0
    while part := connection.recv(65536):
        total += len(part)
    print(total)
