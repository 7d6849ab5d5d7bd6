import Foundation

/// nginx in a network namespace: it serves a file of random bytes and takes uploads into `uploaded/`.
final class FileServer {
    /// What it serves.
    let content: Data
    private let lab: Lab
    private let port: Int
    private let nginx: Child
    /// Of the master process, where there are workers.
    var pid: pid_t { nginx.pid }

    /// `workers`: how many processes serve; 0 for nginx's only one.
    init(in namespace: Namespace, _ lab: Lab, bytes: Int, port: Int = 8077, workers: Int = 0) throws {
        self.lab = lab
        self.port = port
        content = try randomData(bytes)
        let root = "\(lab.folder)/served"
        try FileManager.default.createDirectory(atPath: "\(root)/uploaded", withIntermediateDirectories: true)
        try content.write(to: URL(fileURLWithPath: "\(root)/file"))
        try lab.write(FileServer.configuration(lab.folder, port, workers), to: "nginx.conf")
        nginx = try lab.start(
            namespace.entry + ["nginx", "-e", "stderr", "-c", "\(lab.folder)/nginx.conf"], in: lab.helpers)
        // It writes its pid once it listens.
        guard poll(until: { access("\(lab.folder)/nginx.pid", F_OK) == 0 || nginx.hasEnded() }), !nginx.hasEnded()
        else { throw HarnessError("nginx didn't start: \(nginx.stderr)") }
    }

    /// Where `address` (IPv6 too) has the file.
    func url(_ address: String, _ path: String = "file") -> String {
        "http://\(address.contains(":") ? "[\(address)]" : address):\(port)/\(path)"
    }

    /// What was uploaded under this name.
    func uploaded(_ name: String) throws -> Data {
        try lab.content("served/uploaded/\(name)")
    }

    private static func configuration(_ folder: String, _ port: Int, _ workers: Int) -> String {
        """
        daemon off;
        \(workers == 0 ? "master_process off" : "worker_processes \(workers)");
        pid \(folder)/nginx.pid;
        events { worker_connections 256; }
        http {
            access_log off;
            client_body_temp_path \(folder)/body;
            proxy_temp_path \(folder)/proxy;
            fastcgi_temp_path \(folder)/fastcgi;
            uwsgi_temp_path \(folder)/uwsgi;
            scgi_temp_path \(folder)/scgi;
            client_max_body_size 0;
            sendfile on;
            server {
                listen \(port);
                listen [::]:\(port);
                root \(folder)/served;
                autoindex on;
                location /uploaded/ { dav_methods PUT; }
            }
        }

        """
    }
}

private func randomData(_ count: Int) throws -> Data {
    let random = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/dev/urandom"))
    return try random.read(upToCount: count) ?? Data()
}
