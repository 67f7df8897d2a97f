//! Generates the gRPC code with protox: no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["tandem/v1/relay.proto", "tandem/v1/signal.proto"];
    println!("cargo:rerun-if-changed=tandem");
    let descriptors = protox::compile(files, ["."])?;
    // What is said of a key in a log is written by hand: src/lib.rs.
    tonic_prost_build::configure()
        .build_transport(false)
        .skip_debug(["tandem.v1.Crypto"])
        .compile_fds(descriptors)?;
    Ok(())
}
