/// Why limiting can't be set up here, in words for the user.
package struct SetupError: Error, CustomStringConvertible {
    /// What is wrong.
    package let problem: String
    /// What the user can do about it.
    package let advice: String?
    private let joint: String

    package var description: String { problem + (advice.map { joint + $0 } ?? "") }

    package init(_ problem: String, advice: String? = nil, joint: String = "; ") {
        self.problem = problem
        self.advice = advice
        self.joint = joint
    }

    package init(_ error: any Error) {
        switch error {
        case let error as SetupError: self = error
        case var error as SystemError:
            let hint = error.hint
            error.hint = nil
            self.init("\(error)", advice: hint)
        default: self.init("\(error)")
        }
    }
}

/// Runs `body` and turns its error into one for the user.
package func setting<Result: ~Copyable, Failure: Error>(
    _ body: () throws(Failure) -> Result
) throws(SetupError) -> Result {
    do {
        return try body()
    } catch {
        throw SetupError(error)
    }
}
