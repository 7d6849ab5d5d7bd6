import Testing
import Units

@Suite struct PrintableTests {
    @Test(arguments: ["", "50k", #"a 'b' "c" \d"#, "é日本💥", "e\u{301}"])
    func `what a terminal only shows stays`(text: String) {
        #expect(text.printable == text)
    }

    @Test(arguments: [
        ("a\nb", #"a\nb"#), ("a\r\n", #"a\r\n"#), ("\t\0", #"\t\0"#), ("\u{1b}[2J", #"\u{1B}[2J"#),
        ("\u{7f}", #"\u{7F}"#),
        ("\u{9b}2J", #"\u{009B}2J"#), ("\u{2028}", #"\u{2028}"#), ("a\u{202e}b", #"a\u{202E}b"#),
    ])
    func `what moves its cursor is escaped`(text: String, escaped: String) {
        #expect(text.printable == escaped)
    }
}
