import CKernel
import Glibc
import Kernel
import Records
import SystemPackage
import Units

/// A request to the run of a record. Whoever answers may be anybody, and may do so never, slowly or without end: nothing
/// here waits for that.
final class Question {
    let directory: RecordDirectory
    private let record: String
    private let request: String
    private var socket: Descriptor?
    private var isSent = false
    private let answer = Answer()
    private(set) var result: Result<Answer, Errno>?

    /// What is longer is no answer: a command's line is part of it.
    private static let maximumSize = 1 << 20

    /// What a run said. Descriptors that nobody takes are closed.
    final class Answer {
        fileprivate var bytes: [UInt8] = []
        fileprivate var descriptors: [CInt] = []

        /// Once.
        func takeBytes() -> [UInt8] {
            defer { bytes = [] }
            return bytes
        }

        func takeDescriptors() -> [CInt] {
            defer { descriptors = [] }
            return descriptors
        }

        deinit {
            for descriptor in descriptors { close(descriptor) }
        }
    }

    init(_ record: String, in directory: RecordDirectory, _ request: ControlRequest) {
        self.directory = directory
        self.record = record
        self.request = json(request)
    }

    /// Goes on as far as that takes no waiting. Returns what can be read when there is more; -1 where the time will tell.
    func proceed() -> CInt {
        do throws(Errno) {
            if !isSent { try send() }
            if isSent { try receive() }
        } catch {
            result = .failure(error)
            socket = nil
        }
        return isSent ? socket?.rawValue ?? -1 : -1
    }

    /// The socket of a run that has only just started may not be there yet; one that waited too long for its request, as
    /// where the machine is busy, has hung up: both are asked again. One that refuses has lost its guard.
    private func send() throws(Errno) {
        do throws(Errno) {
            let socket = try connect()
            try socket.send(request)
            shutdown(socket.rawValue, CInt(SHUT_WR))
            self.socket = consume socket
            isSent = true
        } catch {
            let isEarly = [.noSuchFileOrDirectory, .wouldBlock, .brokenPipe].contains(error)
            let hasEnded = faccessat(directory.descriptor.rawValue, record, F_OK, AT_SYMLINK_NOFOLLOW) < 0
            if hasEnded || !isEarly { throw error }
        }
    }

    /// To a socket that is in the directory, and its owner's, who must be the one that listens: a link may lead to the run
    /// of another user.
    private func connect() throws(Errno) -> Descriptor {
        let name = record + RecordFile.socketSuffix
        let place = try Descriptor(openingWithin: directory.descriptor, name, KERNEL_PATH_ONLY)
        var status = stat()
        guard fstat(place.rawValue, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK, status.st_uid == directory.owner
        else { throw .permissionDenied }
        let socket = try Descriptor(connecting: "/proc/self/fd/\(place.rawValue)")
        guard kernel_peer_user(socket.rawValue) == Int64(directory.owner) else { throw .permissionDenied }
        return socket
    }

    private func receive() throws(Errno) {
        var buffer = [UInt8](repeating: 0, count: 16384)
        while let socket = socket?.rawValue, answer.bytes.count <= Question.maximumSize {
            var descriptors = [CInt](repeating: -1, count: Int(KERNEL_MAX_FDS))
            var count: CInt = 0
            let size = kernel_receive_fds(socket, &buffer, buffer.count, &descriptors, &count)
            let error = Errno(rawValue: errno)
            answer.descriptors += descriptors.prefix(Int(count))
            if size < 0 && error == .wouldBlock { return }
            if size < 0 && error == .connectionReset && answer.bytes.isEmpty { return isSent = false }
            if size < 0 { throw error }
            if size == 0 {
                // It gives no reason.
                if answer.bytes.isEmpty { throw .permissionDenied }
                result = .success(answer)
                self.socket = nil
                return
            }
            answer.bytes += buffer[..<size]
            if answer.descriptors.count > Int(KERNEL_MAX_FDS) { throw .tooManyOpenFiles }
        }
        throw .messageTooLong
    }
}

extension RecordDirectory {
    /// Asks the run of this record. Returns its answer.
    package func ask(_ record: String, _ request: ControlRequest) throws(SystemError) -> [UInt8] {
        try answer(of: record, request).takeBytes()
    }

    /// Asks the run of this record for what it takes to join its group: two descriptors.
    package func askToJoin(_ record: String) throws(SystemError) -> (CInt, CInt) {
        let descriptors = try answer(of: record, .join).takeDescriptors()
        if descriptors.count == 2 { return (descriptors[0], descriptors[1]) }
        for descriptor in descriptors { close(descriptor) }
        throw SystemError("join", "the group of \(path)/\(record)", errno: .permissionDenied)
    }

    private func answer(of record: String, _ request: ControlRequest) throws(SystemError) -> Question.Answer {
        let question = Question(record, in: self, request)
        wait(for: [question], milliseconds: RecordDirectory.patience) { _ in }
        return try attempting("ask", "the run of \(path)/\(record)") { () throws(Errno) in
            guard let result = question.result else { throw .timedOut }
            return try result.get()
        }
    }

    /// How long one run is waited for, in milliseconds.
    private static let patience: UInt64 = 3000
}

/// Asks many runs side by side, for at most so many milliseconds in all. `take` hears each answer as it comes.
package func ask(
    _ runs: [(directory: RecordDirectory, record: String)], _ request: ControlRequest, milliseconds: UInt64,
    take: (_ run: Int, _ answer: [UInt8]) -> Void
) {
    let questions = runs.map { Question($0.record, in: $0.directory, request) }
    wait(for: questions, milliseconds: milliseconds) { index in
        if case .success(let answer) = questions[index].result { take(index, answer.takeBytes()) }
    }
}

/// Puts the questions until all are over, or the time is. Of each directory, only some are open at once, so that none
/// takes the others' descriptors or memory. `end` hears of each that is over.
private func wait(for questions: [Question], milliseconds: UInt64, end: (Int) -> Void) {
    let deadline = Host.monotonicNanoseconds + milliseconds * 1_000_000
    var waiting = Dictionary(grouping: questions.indices) { ObjectIdentifier(questions[$0].directory) }
    let most = max(1, 256 / max(1, waiting.count))
    while !waiting.isEmpty, Host.monotonicNanoseconds < deadline {
        var events: [pollfd] = []
        var hasEnded = false
        for (directory, all) in waiting {
            for index in all.prefix(most) {
                let descriptor = questions[index].proceed()
                if descriptor >= 0 { events.append(pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)) }
                if questions[index].result == nil { continue }
                hasEnded = true
                end(index)
            }
            let rest = all.filter { questions[$0].result == nil }
            waiting[directory] = rest.isEmpty ? nil : rest
        }
        // Not for long: a socket that isn't there yet can't be waited for.
        poll(&events, nfds_t(events.count), hasEnded ? 0 : 10)
    }
}
