/// The version of the package, as `--version` prints it.
let version = "0.1.0"
