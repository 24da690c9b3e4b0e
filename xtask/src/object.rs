//! Checks the kernel programs' object without a kernel, so that an error at build time names its cause.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use object::build::elf::{Builder, Section, SectionData};
use object::elf::SHT_STRTAB;
use object::{File, Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind};

/// A section for each hook: aya finds the program and its attach type by the section's name.
const PROGRAMS: &[&str] = &[
    "cgroup/connect4",
    "cgroup/connect6",
    "cgroup/getpeername4",
    "cgroup/getpeername6",
    "cgroup/recvmsg4",
    "cgroup/recvmsg6",
    "cgroup/sendmsg4",
    "cgroup/sendmsg6",
    "cgroup/sock_release",
    "classifier",
];

/// Length of a BPF instruction in bytes.
const INSTRUCTION: u64 = 8;

/// Checks the agent's object; returns a table of its sections' instruction counts.
///
/// # Errors
/// If a panic can be reached, which the verifier refuses, or if a hook has no program.
pub(crate) fn check(bytes: &[u8]) -> Result<String> {
    let file = File::parse(bytes).context("not an object file")?;
    check_panics(&file)?;
    let code = code(&file)?;
    let is_missing = |program: &&&str| !code.iter().any(|(name, _)| name == *program);
    let missing: Vec<&str> = PROGRAMS.iter().filter(is_missing).copied().collect();
    if !missing.is_empty() {
        bail!("no program in section {}", missing.join(", "));
    }
    Ok(table(&code))
}

/// Checks an object with any programs.
///
/// # Errors
/// If a panic can be reached.
pub(crate) fn check_any(bytes: &[u8]) -> Result<()> {
    check_panics(&File::parse(bytes).context("not an object file")?)
}

/// The object without DWARF, which nothing reads: aya, the kernel and bpftool take types and source lines from BTF. It is four fifths of the
/// file, and the agent embeds the object.
pub(crate) fn without_dwarf(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut file = Builder::read(bytes).context("not an object file")?;
    for section in &mut file.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    file.delete_orphans();
    let is_of_names = |section: &Section<'_>| matches!(section.data, SectionData::SectionString);
    if !file.sections.iter().any(is_of_names) {
        // LLVM has one table for the names of sections and of symbols, the builder wants two.
        let names = file.sections.add();
        names.name = b".shstrtab"[..].into();
        names.sh_type = SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    let mut stripped = Vec::new();
    file.write(&mut stripped)?;
    Ok(stripped)
}

/// Names and instruction counts of the sections with code.
fn code<'a>(file: &File<'a>) -> Result<Vec<(&'a str, u64)>> {
    file.sections()
        .filter(|section| section.kind() == SectionKind::Text && section.size() != 0)
        .map(|section| {
            let instructions = section.size() / INSTRUCTION;
            Ok((section.name()?, instructions))
        })
        .collect()
}

fn check_panics(file: &File<'_>) -> Result<()> {
    let panics = panics(file.symbols().filter_map(|symbol| symbol.name().ok()));
    if !panics.is_empty() {
        bail!(
            "a panic can be reached, and the verifier refuses such a program: look for an index, \
             a division by a variable, an unwrap. Panic functions in the object: {}",
            panics.join(", ")
        );
    }
    Ok(())
}

/// The symbols that belong to core's panics, in the legacy or v0 mangling, or not mangled.
fn panics<'a>(symbols: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    const MARKS: [&str; 3] = ["core::panicking", "core..panicking", "4core9panicking"];
    symbols
        .filter(|symbol| MARKS.iter().any(|mark| symbol.contains(mark)))
        .collect()
}

fn table(code: &[(&str, u64)]) -> String {
    let width = code.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut table = format!("{:width$}  instructions\n", "section");
    for (name, instructions) in code {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{name:width$}  {instructions:>12}");
    }
    table
}

#[cfg(test)]
mod tests {
    use object::Endianness;
    use object::elf::SHT_PROGBITS;

    use super::*;

    #[test]
    fn panics_are_found_in_every_mangling() {
        let symbols = [
            "_ZN4core9panicking18panic_bounds_check17h0123456789abcdefE",
            "_RNvNtCs4fqI2P2rA04_4core9panicking5panic",
            "core::panicking::panic_fmt",
            "connect4",
            "score9panicking",
        ];
        assert_eq!(panics(symbols.into_iter()), symbols[..3]);
    }

    #[test]
    fn dwarf_goes_and_btf_stays() {
        let mut file = Builder::new(Endianness::Little, true);
        for (name, kind) in [
            (".BTF", SHT_PROGBITS),
            (".debug_info", SHT_PROGBITS),
            (".strtab", SHT_STRTAB),
        ] {
            let section = file.sections.add();
            section.name = name.as_bytes().into();
            section.sh_type = kind;
            section.sh_addralign = 1;
            section.data = match kind {
                SHT_STRTAB => SectionData::SectionString,
                _ => SectionData::Data(b"contents"[..].into()),
            };
        }
        let mut bytes = Vec::new();
        file.write(&mut bytes).expect("well-formed");
        let stripped = without_dwarf(&bytes).expect("well-formed");
        let file = File::parse(stripped.as_slice()).expect("an object file");
        let btf = file.section_by_name(".BTF").expect("it stays");
        assert_eq!(btf.data().expect("readable"), b"contents");
        assert!(file.section_by_name(".debug_info").is_none());
    }

    #[test]
    fn counts_are_aligned() {
        let table = table(&[("cgroup/connect4", 412), (".text", 9)]);
        assert_eq!(
            table,
            "section          instructions\n\
             cgroup/connect4           412\n\
             .text                       9\n"
        );
    }

    #[test]
    fn invalid_objects_are_reported() {
        let error = check(b"nothing").expect_err("not ELF");
        assert_eq!(error.to_string(), "not an object file");
    }
}
