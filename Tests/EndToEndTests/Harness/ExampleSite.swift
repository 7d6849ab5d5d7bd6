import Foundation

/// example.org, as docs/recipes.md wants it: on this machine, in a network namespace, with HTTP and SSH. Whoever enters
/// finds it by its name, throttle in /usr/local/bin, and a home directory whose keys open it.
final class ExampleSite {
    static let fileSize = 600_000
    private let lab: Lab
    private let namespace: Namespace
    private let web: FileServer
    private let ssh: Child

    init(_ lab: Lab) throws {
        self.lab = lab
        namespace = try Namespace(lab)
        web = try FileServer(in: namespace, lab, bytes: ExampleSite.fileSize, port: 80)
        try lab.require(["sh", "-ec", ExampleSite.furnish, "sh", throttlePath])
        let server = ["dropbear", "-F", "-E", "-r", "\(lab.folder)/host", "-P", "\(lab.folder)/ssh.pid"]
        ssh = try lab.start(ExampleSite.entry(namespace, lab) + server, in: lab.helpers)
        guard poll(until: { access("\(lab.folder)/ssh.pid", F_OK) == 0 || ssh.hasEnded() }), !ssh.hasEnded() else {
            throw HarnessError("dropbear didn't start: \(ssh.stderr)")
        }
    }

    /// Words that take the command that follows there.
    var entry: [String] { ExampleSite.entry(namespace, lab) + ["env"] + environment }

    private var environment: [String] {
        [
            "APT_CONFIG=\(lab.folder)/apt.conf", "PIP_INDEX_URL=http://example.org/simple",
            "PIP_TRUSTED_HOST=example.org", "PIP_DISABLE_PIP_VERSION_CHECK=1",
            "CONTAINERS_CONF=\(lab.folder)/containers.conf", "CONTAINERS_STORAGE_CONF=\(lab.folder)/storage.conf",
        ]
    }

    private static func entry(_ namespace: Namespace, _ lab: Lab) -> [String] {
        let script = """
            mount --bind home /root; mount --bind hosts /etc/hosts; mount --bind local /usr/local
            mount -t tmpfs -o mode=755 none /run; mount -t tmpfs none /dev/shm; exec "$@"
            """
        return namespace.entry + ["unshare", "-mpf", "--mount-proc", "sh", "-ec", script, "sh"]
    }

    /// Lays out, in the lab's folder, what is served and what is found by those who enter.
    private static let furnish = #"""
        exec >/dev/null
        mkdir -p local/bin home/.ssh apt/lists/partial apt/cache/archives/partial
        install -m 755 "$1" local/bin/throttle
        echo "127.0.0.1 example.org localhost $(hostname)" >hosts
        head -c 150000 served/file >served/part
        cp served/file file && cp served/file home/file

        ssh-keygen -q -t ed25519 -N '' -f home/.ssh/id_ed25519
        cp home/.ssh/id_ed25519.pub home/.ssh/authorized_keys
        dropbearkey -t ed25519 -f host | sed -n 's/^ssh-ed25519/example.org &/p' >home/.ssh/known_hosts
        chmod 700 home home/.ssh && chmod 600 home/.ssh/*

        git init -q project && cp served/file project/data
        git -C project add data
        git -C project -c user.name=a -c user.email=a@example.org commit -q -m data
        git clone -q --bare project served/project.git && git -C served/project.git update-server-info
        rm -r project

        mkdir -p package/DEBIAN package/usr/share/example-data served/debian
        cp served/file package/usr/share/example-data
        printf '%s\n' 'Package: example-data' 'Version: 1' 'Architecture: all' 'Maintainer: a <a@example.org>' \
            'Description: data' >package/DEBIAN/control
        dpkg-deb --root-owner-group --build package served/debian/example-data_1_all.deb
        (cd served/debian && set -- *.deb && {
            dpkg-deb -f "$1" && echo "Filename: ./$1" && echo "Size: $(wc -c <"$1")" &&
                echo "SHA256: $(sha256sum "$1" | cut -d ' ' -f 1)"; } >Packages)
        echo 'deb [trusted=yes] http://example.org/debian ./' >sources.list
        printf '%s\n' "Dir::Etc::sourcelist \"$PWD/sources.list\";" 'Dir::Etc::sourceparts "-";' \
            "Dir::State::lists \"$PWD/apt/lists\";" "Dir::Cache \"$PWD/apt/cache\";" >apt.conf
        chown _apt apt/lists/partial apt/cache/archives/partial

        mkdir -p served/simple/example-data
        python3 - <<'END'
        import zipfile
        name = "example_data-1.0"
        with zipfile.ZipFile(f"served/simple/example-data/{name}-py3-none-any.whl", "w") as wheel:
            wheel.write("file", "example_data/data")
            wheel.writestr(f"{name}.dist-info/METADATA", "Metadata-Version: 2.1\nName: example-data\nVersion: 1.0\n")
            wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{name}.dist-info/RECORD", "")
        END

        mkdir -p image/bin && cp "$(command -v busybox)" image/bin && ln -s busybox image/bin/wget
        tar -C image -cf image.tar .
        printf '%s\n' '[containers]' 'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]' '[engine]' \
            'cgroup_manager = "cgroupfs"' 'events_logger = "none"' 'lock_type = "file"' >containers.conf
        printf '%s\n' '[storage]' 'driver = "vfs"' "graphroot = \"$PWD/podman\"" 'runroot = "/run/podman-run"' \
            >storage.conf
        """#
}
