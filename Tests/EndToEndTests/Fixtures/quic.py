"""quic.py serve|ADDRESS PORT down|up SECONDS BYTES: a QUIC server for one connection, or its client, which has up to
BYTES sent on one stream for SECONDS. Needs aioquic. The client ends by itself, the server on SIGTERM; each prints JSON:
intervals (start, seconds, bytes of UDP payload received), how many of these bytes the stream's reader got, how many
packets that it sent QUIC took for lost, and what broke the connection."""
import asyncio
import datetime
import json
import signal
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.congestion.base import register_congestion_control
from aioquic.quic.congestion.cubic import CubicCongestionControl
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

SO_RCVBUFFORCE = 33

address, port, direction = sys.argv[1], int(sys.argv[2]), sys.argv[3]
seconds, size = int(sys.argv[4]), int(sys.argv[5])
is_sender = (address == "serve") == (direction == "down")
counts = [0] * (seconds * 10)
report = {"stream": 0, "lost": 0, "error": ""}


class Cubic(CubicCongestionControl):
    """Counts losses; packets that are only sent again, as probes, are none."""

    def on_packets_lost(self, *, now, packets):
        report["lost"] += len(packets)
        super().on_packets_lost(now=now, packets=packets)


class Transfer(QuicConnectionProtocol):
    began, index = None, 0

    def connection_made(self, transport):
        # A slow Python shall not look like a lossy network.
        transport.get_extra_info("socket").setsockopt(1, SO_RCVBUFFORCE, 8 << 20)
        super().connection_made(transport)

    def datagram_received(self, data, addr):
        now = self._loop.time()
        self.began = self.began or now
        self.index = int((now - self.began) * 10)
        if self.index < len(counts):
            counts[self.index] += len(data)
        super().datagram_received(data, addr)

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated) and event.error_code:
            report["error"] = f"{event.error_code}: {event.reason_phrase}"
        elif isinstance(event, StreamDataReceived):
            if self.index < len(counts):
                report["stream"] += len(event.data)
            if is_sender:  # that was the request
                self._quic.send_stream_data(event.stream_id, bytes(size))


def certificate():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "quic.py")])
    now, day = datetime.datetime.now(), datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
    return builder.sign(key, SHA256()), key


async def main():
    register_congestion_control("cubic", Cubic)
    options = {"alpn_protocols": ["quic.py"], "congestion_control_algorithm": "cubic"}
    if address == "serve":
        configuration = QuicConfiguration(is_client=False, **options)
        configuration.certificate, configuration.private_key = certificate()
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await serve("::", port, configuration=configuration, create_protocol=Transfer)
        print("ready", flush=True)
        await ended.wait()
    else:
        configuration = QuicConfiguration(verify_mode=ssl.CERT_NONE, **options)
        async with connect(address, port, configuration=configuration, create_protocol=Transfer) as client:
            stream = client._quic.get_next_available_stream_id()
            client._quic.send_stream_data(stream, bytes(size if is_sender else 1))
            client.transmit()
            await asyncio.sleep(seconds)
            client._closed.set()  # else it would wait for three of its time-outs
    report["intervals"] = [(index / 10, 0.1, count) for index, count in enumerate(counts)]
    print(json.dumps(report))


asyncio.run(main())
