//! `require "images.debian"`, `"images.tiny"` and `"images.boot"`, which need a host to build an image: a workshop that
//! only prints what it is asked for takes its place.

use crate::support::Test;

const WORKSHOP: &str = r#"
    local function quoted(word) return (word:find "^[%w=,./_-]+$") and word or "'" .. word:gsub("\n.*", "...") .. "'" end
    work = {
      run = function(_, command)
        local words = type(command) == "table" and command or { command }
        local shown = {}
        for n, word in ipairs(words) do shown[n] = quoted(word) end
        print("run " .. table.concat(shown, " "))
        return USER or "0"
      end,
      write = function(_, path, text, options)
        print("write " .. path .. " " .. (options and options.mode or "-"))
        WRITTEN = text
      end,
    }
"#;

/// Returns what these lines print, in which `work` is the workshop.
#[track_caller]
fn printed(lines: &str) -> String {
    Test::new().script(&format!("{WORKSHOP}\n{lines}")).args(["run", "script.lua"]).any_stdout().run().stdout
}

#[track_caller]
fn refuses(line: &str, error: &str) {
    let ran = Test::new().script(line).args(["run", "script.lua"]).status(1).any_stderr().run();
    assert_eq!(ran.stderr, format!("error: script.lua:1: {error}\n"));
}

#[test]
fn a_disk_is_made_by_root_and_by_another_user_under_fakeroot() {
    let made = |how: &str| {
        let run =
            ["'id -u'", &format!("{how} 8589934592"), "qemu-img convert -O qcow2 disk.raw disk.qcow2", "rm disk.raw"];
        format!("write disk.sh -\nrun {}\n", run.join("\nrun "))
    };
    let make = "require('images.boot').disk(work, { fill = 'cp -r /etc root', size = '8GiB' })";
    assert_eq!(
        printed(&format!("{make} print(WRITTEN:find('fill() {{\\ncp -r /etc root\\n}}', 1, true) ~= nil)")),
        format!("{}true\n", made("sh -eu disk.sh"))
    );
    assert_eq!(printed(&format!("USER = '1000' {make}")), made("fakeroot -- sh -eu disk.sh"));
}

#[test]
fn an_initramfs_has_the_modules_that_a_disk_needs() {
    let modules = "virtio_pci virtio_blk ext4 virtio_net virtio_console virtio_rng af_packet";
    assert_eq!(
        printed("require('images.boot').initramfs(work, { root = 'source' })"),
        format!("run sh -eu -c 'umask 022...' sh source '{modules}'\n")
    );
}

#[test]
fn mmdebstrap_is_run_with_what_it_is_given() {
    let bootstrap = "require('images.debian').bootstrap('images.mine', work, { '--variant=minbase', 'bookworm' })";
    assert_eq!(printed(bootstrap), "run mmdebstrap --variant=minbase bookworm\n");
    assert_eq!(
        printed(&format!(
            "work.run = function() error('E: Unable to locate package x', 0) end
             print(select(2, pcall(function() {bootstrap} end)))"
        )),
        "images.mine: cannot build the image: E: Unable to locate package x\n\
         hint: the suite has no such package: look at `packages`\n"
    );
}

#[test]
fn the_options_of_an_image_decide_whether_a_root_is_stale() {
    let script = |image: &str| format!("machine('lab', {{ image = require 'images.{image} }}):root('base')");
    let lab = Test::new();
    let options = "debian' { suite = 'trixie', packages = { 'vim' }, timezone = 'Europe/Paris' }";
    lab.again().script(&script(options)).args(["run", "script.lua"]).any_stderr().run();
    for (image, status) in [
        (options, 0),
        ("debian' { timezone = 'Europe/Paris', packages = { 'vim' }, suite = 'trixie', disk = '8GiB' }", 0),
        ("debian' { suite = 'trixie', packages = { 'vim' } }", 2),
        ("debian' { suite = 'trixie', packages = { 'vim', 'curl' }, timezone = 'Europe/Paris' }", 2),
        ("tiny' {}", 2),
    ] {
        lab.again().script(&script(image)).args(["plan", "script.lua"]).status(status).any_stdout().run();
    }
}

#[test]
fn what_no_image_can_have_is_refused() {
    for (line, error) in [
        (
            "require 'images.debian' { suite = 'bokworm' }",
            "images.debian: Debian has no suite `bokworm`\nhint: did you mean `bookworm`?",
        ),
        ("require 'images.debian' { suite = '-x', mirror = 'http://m' }", "images.debian: `-x` is no name of a suite"),
        (
            "require 'images.debian' { packages = { 'a b' } }",
            "images.debian: packages[1] is \"a b\", which is no name of a package",
        ),
        (
            "require 'images.debian' { packages = { x = 'vim' } }",
            "images.debian: `packages` is a list, and has the key `x`",
        ),
        (
            "require 'images.debian' { hostname = '-' }",
            "images.debian: \"-\" is no host name\nhint: letters, digits, `-` and `.`",
        ),
        (
            "require 'images.debian' { timezone = '../x' }",
            "images.debian: \"../x\" is no timezone\nhint: such as Europe/Paris",
        ),
        (
            "require 'images.debian' { disk = '8' }",
            "images.debian: `8` is no disk size\nhint: write a whole number and a unit, such as 8GiB",
        ),
        (
            "require 'images.tiny' { siut = 'bookworm' }",
            "images.tiny: unknown option `siut`\nhint: did you mean `suite`?",
        ),
        (
            "require 'images.tiny' { disk = '0GiB' }",
            "images.tiny: `0GiB` is no disk size\nhint: write a whole number and a unit, such as 8GiB",
        ),
    ] {
        refuses(line, error);
    }
}
