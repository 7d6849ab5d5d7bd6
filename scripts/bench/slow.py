"""Networks that are slow besides their rate: the round trip, the rate and the losses found, against those asked for."""

import contextlib
import statistics
import string
import subprocess
import sys
import types

from datagrams import buffer_drops
from links import quiet_server
from meters import figures
from processes import Missing, require, run, started
from transfers import RATES, dropped, intervals, iperf, sent_again, tcp_segments

NO_NETEM = "no netem"
ECHO, LOSSY = 8080, 8081
SECONDS, DATAGRAMS = 3, 50_000
ECHO_SERVER = """
import socketserver, sys
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(100): self.request.sendall(data)
class Server(socketserver.ThreadingTCPServer):
    daemon_threads, request_queue_size = True, 100
Server(('', int(sys.argv[1])), Echo).serve_forever()
"""
# Connects, has a byte sent back, and begins again; writes how many ms both took.
ECHO_CLIENT = """
import socket, sys, threading, time
address, port, seconds, clients = sys.argv[1], *map(int, sys.argv[2:])
end = time.monotonic() + seconds
def requests():
    while (began := time.monotonic()) < end:
        with socket.create_connection((address, port), 10) as connection:
            connected = time.monotonic()
            connection.send(b'x')
            connection.recv(1)
            print(f'{(connected - began) * 1e3} {(time.monotonic() - connected) * 1e3}\\n', end='', flush=True)
        time.sleep(0.02)
threads = [threading.Thread(target=requests) for _ in range(clients)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
# Sends so many datagrams, or receives them and writes how many came. Whoever binds waits for the other: a receiver that
# connects asks until something comes, as iperf3 doesn't, which is lost with its first datagram.
LOSS_SCRIPT = """
import socket, sys, time
does, how, address, port, count = *sys.argv[1:4], *map(int, sys.argv[4:])
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
if how == 'bind':
    end.bind((address, port))
    print('ready', flush=True)
    if does == 'send': end.connect(end.recvfrom(100)[1])
else:
    end.connect((address, port))
came, end_of_asking = 0, time.monotonic() + 10
if does == 'send':
    for number in range(count):
        end.send(b'x' * 100)
        if number % 20 == 19: time.sleep(0.001)
else:
    end.settimeout(10 if how == 'bind' else 0.1)
    while True:
        try:
            if how == 'connect' and not came: end.send(b'?')
            end.recv(200)
            came += 1
            if came == 1: end.settimeout(1)
        except TimeoutError:
            if came or how == 'bind' or time.monotonic() > end_of_asking: break
    print(came)
"""


def slow(options, network, cell):
    """cell.control is "rtt" and ms that each round trip takes, or "loss" and percent that are lost each way."""
    amount, is_loss = int(cell.control.lstrip(string.ascii_lowercase)), cell.control.startswith("loss")
    if not is_loss or cell.limiter == "netem":
        require_netem(network)
    limit = RATES[cell.rate] if cell.rate != "100G" else None
    wrapper = slowed(options, network, cell, amount, is_loss, limit)
    if is_loss:
        return losing(network, cell, wrapper, amount)
    return delaying(network, wrapper, amount) if limit is None else transferring(options, network, cell, wrapper, limit)


def require_netem(network):
    words = network.here("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
    if run(words).status != 0:
        raise Missing(NO_NETEM)
    require(*network.here("tc", "qdisc", "del", "dev", "lo", "root"))


def slowed(options, network, cell, amount, is_loss, limit):
    """Makes the network slow, or returns the words that do. A peer's qdiscs go with the network."""
    if cell.limiter == "throttle":
        slowness = ("--loss", f"{amount}%") if is_loss else ("--rtt", f"{amount}ms")
        rate = [f"--{cell.direction}={limit}"] if limit else []
        return [options.binary, "run", *slowness, *rate, "--stats=json", "--"]
    slowness = ("loss", f"{amount}%") if is_loss else ("delay", f"{amount / 2}ms")
    for name in (network.near, network.far):
        rate = ("rate", f"{limit}bps") if limit and name == network.sender(cell.direction) else ()
        require("tc", "-n", name, "qdisc", "add", "dev", network.device, "root", "netem", *slowness, *rate)
    return []


def echo_server(network):
    return quiet_server(network, ECHO, sys.executable, "-c", ECHO_SERVER, str(ECHO))


def echoes(network, seconds, wrapper=(), clients=1):
    """ms of each connect(), and of each byte that comes back then."""
    words = [sys.executable, "-c", ECHO_CLIENT, network.address, *map(str, (ECHO, seconds, clients))]
    done = run(network.here(*wrapper, *words), seconds + 30)
    found = [tuple(map(float, line.split())) for line in done.output.splitlines()]
    if len(found) < 2:
        raise Missing(f"no echoes: {done.errors.strip()[-200:]}")
    return tuple(zip(*found))


def delaying(network, wrapper, asked):
    with echo_server(network):
        times = dict(zip(("connect", "echo"), map(statistics.median, echoes(network, SECONDS, wrapper))))
    result = {f"{name} median ms": found for name, found in times.items()}
    return result | {f"{name} error %": abs(found / asked - 1) * 100 for name, found in times.items()}


def transferring(options, network, cell, wrapper, limit):
    """For as long as over a path that is as long itself."""
    lasting = types.SimpleNamespace(**vars(cell) | {"path": f"wan{cell.control[3:]}"})
    before = tcp_segments(network, network.sender(cell.direction))
    done, client, remote = iperf(options, network, lasting, wrapper, "-C", "cubic")
    if done.status != 0 or "error" in client:
        raise Missing(f"iperf3: {client.get('error') or done.errors.strip()[-200:]}")
    receiver = client if cell.direction == "down" else remote
    result = figures(intervals(receiver), limit, lasting.path)
    return result | sent_again(network, cell, before) | dropped(done, cell.direction)


def losing(network, cell, wrapper, asked):
    """Datagrams of one direction, and how many of them don't come, but for want of room in the receiver's buffer."""
    own, others = ("receive", "send") if cell.direction == "down" else ("send", "receive")
    words = (network.address, str(LOSSY), str(DATAGRAMS))
    script, before = (sys.executable, "-c", LOSS_SCRIPT), buffer_drops(network, cell)
    with started(network.there(*script, others, "bind", *words), stdout=subprocess.PIPE) as remote:
        if remote.stdout.readline() != "ready\n":
            raise Missing("the other end didn't start")
        done = run(network.here(*wrapper, *script, own, "connect", *words), 60)
        output = done.output if own == "receive" else remote.communicate(timeout=30)[0]
    with contextlib.suppress(ValueError):
        lost = DATAGRAMS - int(output) - (buffer_drops(network, cell) - before)
        found = 100 * lost / DATAGRAMS
        return {"lost %": found, "lost error %": abs(found / asked - 1) * 100}
    raise Missing(f"no datagrams: {done.errors.strip()[-200:]}")
