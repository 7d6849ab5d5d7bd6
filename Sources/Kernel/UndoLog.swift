/// Takes a line for each thing done on the system and for each undone; `isFailure` says that it couldn't be undone.
public typealias UndoLog = (_ line: String, _ isFailure: Bool) -> Void
