use super::Finder;
use super::patterns::patterns;

fn place(output: &str) -> Option<String> {
    let mut finder = Finder::default();
    output.lines().for_each(|line| finder.line(line));
    finder.place()
}

#[track_caller]
fn is(output: &str, expected: &str) {
    assert_eq!(place(output).as_deref(), Some(expected), "{output}");
}

#[test]
fn the_patterns_are_well_formed() {
    assert!(patterns().is_some());
}

#[test]
fn rust() {
    is(
        "   Compiling api v0.1.0 (/srv/api)\n\
         warning: unused variable: `a`\n --> src/lib.rs:1:9\n  |\n\n\
         error[E0425]: cannot find value `x` in this scope\n  --> src/main.rs:3:5\n   |\n\
         error: aborting\n --> src/main.rs:9:9",
        "src/main.rs:3:5",
    );
    is("error: expected `;`\n\n --> a.rs:1:2\n", "a.rs:1:2");
    is("thread 'main' panicked at src/main.rs:2:5:\nexplicit panic", "src/main.rs:2:5");
    is("thread 'main' (123) panicked at build.rs:2:5:\nno", "build.rs:2:5");
    is("error: could not find `[package]`\n --> Cargo.toml:1:1", "Cargo.toml:1:1");
    assert_eq!(
        place("warning: unused import\n --> src/lib.rs:1:5\nwarning: `api` generated 1 warning"),
        None
    );
}

#[test]
fn c_and_its_kin() {
    is(
        "In file included from a.c:1:\na.c:2:3: warning: unused\na.h:7:10: fatal error: x.h: No such file",
        "a.h:7:10",
    );
    is("cc -c a.c\na.c:3:5: error: expected ';' before '}' token\nb.c:1:1: error: x", "a.c:3:5");
    is("src/A.java:3: error: ';' expected", "src/A.java:3");
    is("Main.hs:3:5: error: [GHC-88464]", "Main.hs:3:5");
    is("/usr/bin/ld: a.o: in function `main':\n/srv/a.c:3: undefined reference to `f'", "/srv/a.c:3");
    is("[1/2] Building\nFAILED: x\n../src/a.cc:10:2: error: no", "../src/a.cc:10:2");
    is("CMake Error at CMakeLists.txt:3 (add_executable):", "CMakeLists.txt:3");
    is("web:build: a.c:3:5: error: prefixed", "a.c:3:5");
}

#[test]
fn make() {
    is("Makefile:3: *** missing separator.  Stop.", "Makefile:3");
    is("make[1]: *** [Makefile:7: all] Error 1\nmake: *** [Makefile:2: x] Error 2", "Makefile:7");
    is("cc a.c\na.c:1:2: error: x\nmake: *** [Makefile:7: all] Error 1", "a.c:1:2");
    assert_eq!(place("make: [Makefile:7: clean] Error 1 (ignored)"), None);
}

#[test]
fn go() {
    is("# example.com/api\n./x.go:3:5: undefined: y\n./x.go:9:5: more", "./x.go:3:5");
    is("vet: ./x.go:3:5: x declared and not used", "./x.go:3:5");
    is("--- FAIL: TestX (0.00s)\n    x_test.go:12: got 1", "x_test.go:12");
    is("2026/01/20 10:00:00 main.go:7: starting\n./x.go:3:5: undefined: y", "./x.go:3:5");
}

#[test]
fn type_script_and_bundlers() {
    is("src/a.ts(3,5): error TS2304: Cannot find name 'x'.", "src/a.ts:3:5");
    is("src/a.ts:3:5 - error TS2304: Cannot find name 'x'.\n\n3     x", "src/a.ts:3:5");
    is("Program.cs(3,5): error CS1002: ; expected [/p/a.csproj]", "Program.cs:3:5");
    is("✘ [ERROR] Expected \";\" but found \"x\"\n\n    src/a.ts:3:5:\n      3 │ let a x", "src/a.ts:3:5");
    is("▲ [WARNING] odd\n\n    src/w.ts:1:1:\n\n✘ [ERROR] No\n\n    src/a.ts:3:5:", "src/a.ts:3:5");
    is("error during build:\nsrc/a.ts:3:5: ERROR: Expected \";\"", "src/a.ts:3:5");
    is("[vite:esbuild] Transform failed\nfile: /p/src/a.ts:3:5", "/p/src/a.ts:3:5");
    is("ERROR in ./src/a.ts 3:5-9\nModule not found", "./src/a.ts:3:5");
    is("ERROR in src/a.ts:3:5\nTS2304", "src/a.ts:3:5");
    is("SyntaxError: /p/x.js: Unexpected token (3:5)", "/p/x.js:3:5");
    is("\n/p/src/a.js\n  2:1  warning  odd\n  3:5  error  'x' is not defined  no-undef", "/p/src/a.js:3:5");
    is("./app/(shop)/[id]/page.tsx:3:5 - error TS1: x", "./app/(shop)/[id]/page.tsx:3:5");
}

#[test]
fn node() {
    is(
        "/p/x.js:3\nlet a = ;\n        ^\n\nSyntaxError: Unexpected token ';'\n    at y (node:internal/x:1:2)",
        "/p/x.js:3",
    );
    is("file:///p/x.mjs:3\nfoo()\n^\n\nReferenceError: foo is not defined", "/p/x.mjs:3");
    is(
        "ReferenceError: foo is not defined\n    at node:internal/a:1:2\n    at f (/p/x.js:3:5)\n    at /p/y.js:1:1",
        "/p/x.js:3:5",
    );
}

#[test]
fn python() {
    is(
        "Traceback (most recent call last):\n  File \"main.py\", line 9, in <module>\n    f()\n    ~^^\n  \
         File \"x.py\", line 3, in f\n    1 / 0\nZeroDivisionError: division by zero\n\n\
         During handling of the above exception, another exception occurred:\n\n\
         Traceback (most recent call last):\n  File \"y.py\", line 7, in <module>\nValueError",
        "x.py:3",
    );
    is("  File \"x.py\", line 3\n    def\n       ^\nSyntaxError: invalid syntax", "x.py:3");
    is("x.py:3: error: Name \"y\" is not defined  [name-defined]", "x.py:3");
    is("tests/test_x.py:12: AssertionError", "tests/test_x.py:12");
    is("x.py:3:5: F821 undefined name 'y'", "x.py:3:5");
    is("File \"a.ml\", line 3, characters 5-8:\nError: Unbound value x", "a.ml:3");
    is("      Traceback\n        File \"setup.py\", line 3, in <module>\n      KeyError: 'x'", "setup.py:3");
}

#[test]
fn others() {
    is("x.rb:3: syntax error, unexpected end-of-input", "x.rb:3");
    is("x.rb:3:in 'Object#f': undefined method 'y' (NoMethodError)\n\tfrom x.rb:9:in '<main>'", "x.rb:3");
    is("./x.sh: line 3: foo: command not found", "./x.sh:3");
    is("x.sh: 3: Syntax error: end of file unexpected", "x.sh:3");
    is("PHP Parse error:  syntax error, unexpected '}' in /p/x.php on line 3", "/p/x.php:3");
    is("syntax error at x.pl line 3, near \"}\"", "x.pl:3");
    is("e: file:///p/A.kt:3:5 Unresolved reference: x", "/p/A.kt:3:5");
    is("[ERROR] /p/A.java:[3,5] ';' expected", "/p/A.java:3:5");
    is("[error] /p/A.scala:3:5: not found: value x\n[error]     x", "/p/A.scala:3:5");
    is("Exception in thread \"main\" java.lang.RuntimeException: x\n\tat p.A.main(A.java:3)", "A.java:3");
}

#[test]
fn what_is_no_place() {
    for line in [
        "12:30:45: error: late",
        "2026-01-01T10:30:45: error",
        "error: connection to localhost:8080: refused",
        "http://127.0.0.1:8080: error",
        "127.0.0.1:8080: error: refused",
        "/bin/sh: 1: foo: not found",
        "sh: line 1: foo: command not found",
        "warning: a.c:3:5: x",
        "a.c:3:5: warning: unused",
        "a.c:3:5: note: expected",
        "[10:20:30] starting",
        "",
    ] {
        assert_eq!(place(line), None, "{line}");
    }
}

#[test]
fn whatever_comes_it_neither_panics_nor_grows() {
    const NASTY: [&str; 24] = [
        "error",
        "warning",
        ":",
        "3",
        "(",
        ")",
        ",",
        "-->",
        " ",
        "\t",
        "File \"",
        "\", line ",
        "a.c",
        "/p/x.js",
        "é",
        "\u{202e}",
        "[ERROR]",
        "at ",
        "SyntaxError",
        "file://",
        "*** ",
        ".go",
        "Traceback",
        "\n",
    ];
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 40).unwrap() % below
    };
    for _ in 0..500 {
        let text: String = (0..random(60)).map(|_| NASTY[random(NASTY.len())]).collect();
        if let Some(place) = place(&text) {
            assert!(place.len() <= 1100 && !place.contains('\n'));
            assert!(place.ends_with(|last: char| last.is_ascii_digit()), "{place:?} of {text:?}");
        }
    }
    for piece in ["a.c:", "error ", "(3,5)", "File \"x\", line 3 ", "at (a.js:1:1", "/", "é"] {
        drop(place(&piece.repeat(1_000_000)));
    }
}
