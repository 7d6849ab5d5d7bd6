import CKernel
import Foundation
import Kernel
import SystemPackage

@testable import Devices

/// Moves the calling thread into a fresh network namespace, which ends with the process: for exit tests. What it
/// starts is in there, too.
func enterNamespace() throws {
    alarm(30)
    guard kernel_make_network() == 0 else { throw SystemError("enter", "a network namespace") }
    try shell("ip link set lo up")
}

/// The devices of the namespace that the calling thread is in.
func devices() throws -> [Device] { try NetworkNamespace.current().routeSocket().devices() }

struct ShellError: Error, CustomStringConvertible {
    let description: String
}

/// Runs a shell command to its end and returns what it wrote.
@discardableResult
func shell(_ command: String) throws -> String {
    guard let pipe = popen("exec 2>&1; " + command, "r") else { throw SystemError("run", command) }
    var text: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while case let count = fread(&buffer, 1, buffer.count, pipe), count > 0 { text += buffer[..<count] }
    let output = String(decoding: text, as: UTF8.self)
    guard pclose(pipe) == 0 else { throw ShellError(description: "\(command): \(output)") }
    return output
}

typealias JSON = [String: Any]

/// What ip(8) and tc(8) print with -j.
func json(_ command: String) throws -> [JSON] {
    try JSONSerialization.jsonObject(with: Data(try shell(command).utf8)) as? [JSON] ?? []
}

/// All of the namespace's devices, qdiscs and classes as others see them.
func everything() throws -> String {
    try shell("ip -d link; for d in $(ls /proc/sys/net/ipv4/conf); do tc class show dev $d 2>/dev/null; done; tc qdisc")
}
