// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]
// Smaller code, where that makes no start slower; all that a packet meets is BPF.
let small = strict + [.unsafeFlags(["-Osize"], .when(configuration: .release))]
let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")

let package = Package(
    name: "throttle",
    products: [.executable(name: "throttle", targets: ["throttle"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    ],
    targets: [
        // C: what Swift can't import, libbpf, libnl, and the embedded BPF objects with the header they share.
        .target(name: "CKernel", cSettings: [.treatAllWarnings(as: .error)]),
        .systemLibrary(name: "CLibBPF", pkgConfig: "libbpf", providers: [.apt(["libbpf-dev"])]),
        .systemLibrary(name: "CLibNL", pkgConfig: "libnl-route-3.0", providers: [.apt(["libnl-route-3-dev"])]),
        .target(name: "CPrograms", dependencies: ["CLibBPF"], cSettings: [.treatAllWarnings(as: .error)]),

        // One module a thing; what it imports is above it here. Only Runs composes, only the command line knows Runs.
        .target(name: "Units", swiftSettings: strict),
        .target(name: "Background", swiftSettings: strict),
        .target(name: "Kernel", dependencies: ["CKernel", system, logging], swiftSettings: strict),
        .target(name: "Cgroups", dependencies: ["Kernel", "CKernel", system, logging], swiftSettings: small),
        .target(
            name: "Programs", dependencies: ["Units", "Kernel", "CKernel", "CLibBPF", "CPrograms", system, logging],
            swiftSettings: strict),
        .target(
            name: "Devices", dependencies: ["Kernel", "CKernel", "CLibNL", "CPrograms", system, logging],
            swiftSettings: small),
        .target(name: "Groups", dependencies: ["Kernel", "CKernel", system], swiftSettings: strict),
        .target(name: "Records", dependencies: ["Units", "Kernel", "CKernel", system], swiftSettings: small),
        .target(name: "Processes", dependencies: ["Kernel", "CKernel", system], swiftSettings: strict),
        .target(
            name: "Planes",
            dependencies: [
                "Units", "Background", "Kernel", "CKernel", "Cgroups", "Devices", "Programs", "Processes", system,
                logging,
            ],
            swiftSettings: strict),
        .target(
            name: "Reports", dependencies: ["Units", "Kernel", "Programs", "Processes", system], swiftSettings: small),
        .target(
            name: "Control", dependencies: ["Units", "Kernel", "Programs", "Records", "Reports", "CKernel", system],
            swiftSettings: small),
        .target(
            name: "Runs",
            dependencies: [
                "Units", "Kernel", "Cgroups", "Devices", "Programs", "Groups", "Records", "Processes", "Planes",
                "Reports", "Control", "CKernel", system, logging,
            ],
            swiftSettings: small),
        .target(
            name: "Doctor",
            dependencies: [
                "Units", "Kernel", "Cgroups", "Devices", "Programs", "Processes", "Planes", "Reports", "Runs", logging,
            ],
            swiftSettings: small),
        .executableTarget(
            name: "throttle",
            dependencies: [
                "Units", "Kernel", "Programs", "Processes", "Reports", "Control", "Runs", "Doctor", "CKernel", logging,
                system, .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),

        .target(name: "CTestSupport", path: "Tests/CTestSupport", cSettings: [.treatAllWarnings(as: .error)]),
        .target(
            name: "TestSupport",
            dependencies: [
                "Units", "Kernel", "Cgroups", "Programs", "Processes", "Reports", "CLibBPF", "CTestSupport", system,
                logging,
            ],
            path: "Tests/TestSupport",
            swiftSettings: strict),
        .testTarget(name: "UnitsTests", dependencies: ["Units", "TestSupport"], swiftSettings: strict),
        // Hours on simulated lines.
        .testTarget(
            name: "BackgroundTests", dependencies: ["Background", "TestSupport"],
            swiftSettings: strict + [.unsafeFlags(["-O"])]),
        .testTarget(
            name: "CgroupsTests", dependencies: ["Cgroups", "Kernel", "TestSupport", system], swiftSettings: strict),
        .testTarget(
            name: "DevicesTests",
            dependencies: ["Devices", "Kernel", "CKernel", "CPrograms", "CTestSupport", "TestSupport", system],
            swiftSettings: strict),
        .testTarget(
            name: "ProgramsTests",
            dependencies: [
                "Programs", "Cgroups", "Kernel", "Units", "CKernel", "CLibBPF", "CPrograms", "CTestSupport",
                "TestSupport", system,
            ],
            swiftSettings: strict),
        .testTarget(name: "GroupsTests", dependencies: ["Groups", "Kernel", "TestSupport"], swiftSettings: strict),
        .testTarget(name: "RecordsTests", dependencies: ["Records", "Kernel"], swiftSettings: strict),
        .testTarget(name: "ProcessesTests", dependencies: ["Processes"], swiftSettings: strict),
        .testTarget(
            name: "PlanesTests",
            dependencies: ["Planes", "Devices", "Kernel", "Programs", "Units", "CKernel", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "ReportsTests",
            dependencies: ["Reports", "Kernel", "Processes", "Programs", "TestSupport", "Units", system],
            swiftSettings: strict),
        .testTarget(
            name: "RunsTests",
            dependencies: [
                "Runs", "Reports", "Planes", "Cgroups", "Processes", "Kernel", "Programs", "Units", "CKernel",
                "CLibBPF",
                "CTestSupport", "TestSupport", logging, system,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "DoctorTests",
            dependencies: [
                "Doctor", "Runs", "Reports", "Cgroups", "Processes", "Kernel", "Programs", "Units", "CLibBPF",
                "TestSupport",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "ThrottleTests",
            dependencies: [
                "throttle", "Kernel", "Programs", "Records", "Reports", "Control", "Doctor", "Runs", "Units", logging,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),
        // Random bad input, within bounds; the release binary's, too.
        .testTarget(
            name: "FuzzTests",
            dependencies: [
                "throttle", "Runs", "Control", "Reports", "Records", "Programs", "Cgroups", "Kernel", "Units",
                "CKernel",
                "CPrograms", "CTestSupport", "TestSupport",
            ],
            swiftSettings: strict),
        // Runs the release binary (`make build`) as a user would.
        .testTarget(name: "EndToEndTests", exclude: ["Fixtures"], swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .c2x
)
