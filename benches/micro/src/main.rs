//! Counts instructions and compares them with the stored baseline; with `--write`, stores them instead.
#![forbid(unsafe_code)]

use std::{
    fs,
    process::{Command, ExitCode, Stdio},
};

use micro::baseline::{Counts, Verdict};

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.tsv");

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => count().and_then(|counts| check(&counts)),
        ["--write"] => count().and_then(|counts| write(&counts)),
        _ => Err("usage: micro [--write]".into()),
    };
    done.map_or_else(
        |error| {
            eprintln!("{error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn check(counts: &Counts) -> Result<(), String> {
    let stored = fs::read_to_string(BASELINE).map_err(|error| format!("{BASELINE}: {error}"))?;
    let baseline = Counts::parse(&stored).map_err(|line| format!("{BASELINE}: {line}"))?;
    let (verdict, table) = counts.compare(&baseline);
    println!("{table}");
    match verdict {
        Verdict::Good => println!("No bench takes more instructions than it may."),
        Verdict::Bad => {
            return Err(
                "Counts are not what they should be. If they are meant to change, store them: \
                        run this again with --write."
                    .into(),
            );
        }
        Verdict::NotComparable => println!(
            "NOT COMPARED: the baseline was made with other things.\n  baseline: {}\n  now:      {}",
            baseline.made_with, counts.made_with
        ),
    }
    Ok(())
}

fn write(counts: &Counts) -> Result<(), String> {
    let text = counts.to_text();
    print!("{text}");
    fs::write(BASELINE, text).map_err(|error| format!("{BASELINE}: {error}"))
}

/// Runs the counting benches.
fn count() -> Result<Counts, String> {
    let mut counts = Counts { made_with: made_with()?, ..Counts::default() };
    let cargo = env!("CARGO");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let bench = ["bench", "--locked", "--quiet", "--manifest-path", manifest, "--bench", "counts"];
    // Flags of the caller's would make another program.
    let printed = output(
        Command::new(cargo)
            .args(bench)
            .args(["--", "--output-format=json", "--nosummary"])
            .env("RUSTFLAGS", ""),
    )?;
    for line in printed.lines().filter(|line| !line.is_empty()) {
        counts
            .take_in(line)
            .ok_or_else(|| format!("the benches say what they should not: {line}"))?;
    }
    if counts.benches.is_empty() {
        return Err("nothing was counted".into());
    }
    Ok(counts)
}

/// What counts depend on besides the sources.
fn made_with() -> Result<String, String> {
    let rustc = output(Command::new("rustc").arg("--version"))?;
    let libc = output(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    let valgrind = output(Command::new("valgrind").arg("--version"))?;
    Ok([rustc.trim(), libc.trim(), valgrind.trim(), processor()].join(", "))
}

/// Some dependencies look for AVX2 themselves, and valgrind has it where the processor has.
fn processor() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return "x86_64 with AVX2";
    }
    std::env::consts::ARCH
}

/// What a command prints, if it succeeds.
fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_owned();
    let failed = |what: String| format!("{}: {what}", name.display());
    let ran =
        command.stderr(Stdio::inherit()).output().map_err(|error| failed(error.to_string()))?;
    if !ran.status.success() {
        return Err(failed(ran.status.to_string()));
    }
    String::from_utf8(ran.stdout).map_err(|error| failed(error.to_string()))
}
