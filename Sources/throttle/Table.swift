/// Lines of cells below titles, for people.
struct Table {
    struct Column {
        let title: String
        var isNumber = false
        /// Those of the lowest rank are the first to be left out; nil: none is.
        var rank: Int?
    }

    let columns: [Column]
    let rows: [[String]]

    /// All lines, at most `width` columns wide where that is given: what is the least important is left out, and the
    /// last column, which needs some room, is cut.
    func text(width: Int?) -> String {
        let room = 12
        var shown = Array(columns.indices)
        if let width {
            let dropped = columns.indices.filter { columns[$0].rank != nil }
                .sorted { (columns[$0].rank ?? 0) < (columns[$1].rank ?? 0) }
            for column in dropped where self.width(of: shown.dropLast()) + room > width {
                shown.removeAll { $0 == column }
            }
        }
        let lines = [columns.map(\.title)] + rows
        return lines.map { cells in line(shown.map { ($0, cells[$0]) }, width) }.joined(separator: "\n")
    }

    private func line(_ cells: [(column: Int, text: String)], _ width: Int?) -> String {
        let padded = cells.map { column, text in
            let space = String(repeating: " ", count: self.width(of: [column]) - 2 - text.unicodeScalars.count)
            return columns[column].isNumber ? space + text : text + space
        }
        let scalars = padded.joined(separator: "  ").unicodeScalars.prefix(width ?? .max)
        let line = String(String.UnicodeScalarView(scalars))
        return line.lastIndex { $0 != " " }.map { String(line[...$0]) } ?? ""
    }

    /// Of these columns, with the two spaces behind each.
    private func width(of columns: some Sequence<Int>) -> Int {
        columns.reduce(0) { sum, column in
            let cells = [self.columns[column].title] + rows.map { $0[column] }
            return sum + 2 + (cells.map(\.unicodeScalars.count).max() ?? 0)
        }
    }
}
