//! Engineering units of BACnet (`BACnetEngineeringUnits`, ASHRAE 135 clause 21) -> units as profiles write them (UCUM). Pure.
//!
//! Those that devices of buildings and meters use; another number is a unit that nobody here knows, which is not the same as none.

/// Number of "no units": the device says nothing about what its value is measured in.
const NO_UNITS: u32 = 95;

/// Each number with its unit.
const UNITS: &[(u32, &str)] = &[
    (0, "m2"),
    (1, "[sft_i]"),
    (2, "mA"),
    (3, "A"),
    (4, "Ohm"),
    (5, "V"),
    (6, "kV"),
    (7, "MV"),
    (8, "VA"),
    (9, "kVA"),
    (10, "MVA"),
    (11, "var"),
    (12, "kvar"),
    (13, "Mvar"),
    (14, "deg"),
    (15, "1"),
    (16, "J"),
    (17, "kJ"),
    (18, "Wh"),
    (19, "kWh"),
    (20, "[Btu_IT]"),
    (23, "J/kg"),
    (25, "/h"),
    (26, "/min"),
    (27, "Hz"),
    (28, "g/kg"),
    (29, "%RH"),
    (30, "mm"),
    (31, "m"),
    (32, "[in_i]"),
    (33, "[ft_i]"),
    (34, "W/[sft_i]"),
    (35, "W/m2"),
    (36, "lm"),
    (37, "lx"),
    (38, "lm/[sft_i]"),
    (39, "kg"),
    (40, "[lb_av]"),
    (41, "t"),
    (42, "kg/s"),
    (43, "kg/min"),
    (44, "kg/h"),
    (45, "[lb_av]/min"),
    (46, "[lb_av]/h"),
    (47, "W"),
    (48, "kW"),
    (49, "MW"),
    (50, "[Btu_IT]/h"),
    (51, "[HP]"),
    (53, "Pa"),
    (54, "kPa"),
    (55, "bar"),
    (56, "[psi]"),
    (57, "cm[H2O]"),
    (58, "[in_i'H2O]"),
    (59, "mm[Hg]"),
    (60, "cm[Hg]"),
    (61, "[in_i'Hg]"),
    (62, "Cel"),
    (63, "K"),
    (64, "[degF]"),
    (65, "Cel.d"),
    (66, "[degF].d"),
    (67, "a"),
    (68, "mo"),
    (69, "wk"),
    (70, "d"),
    (71, "h"),
    (72, "min"),
    (73, "s"),
    (74, "m/s"),
    (75, "km/h"),
    (76, "[ft_i]/s"),
    (77, "[ft_i]/min"),
    (78, "[mi_i]/h"),
    (79, "[cft_i]"),
    (80, "m3"),
    (81, "[gal_br]"),
    (82, "L"),
    (83, "[gal_us]"),
    (84, "[cft_i]/min"),
    (85, "m3/s"),
    (86, "[gal_br]/min"),
    (87, "L/s"),
    (88, "L/min"),
    (89, "[gal_us]/min"),
    (90, "deg"),
    (91, "Cel/h"),
    (92, "Cel/min"),
    (93, "[degF]/h"),
    (94, "[degF]/min"),
    (96, "[ppm]"),
    (97, "[ppb]"),
    (98, "%"),
    (99, "%/s"),
    (100, "/min"),
    (101, "/s"),
    (103, "rad"),
    (104, "rpm"),
    (115, "[sin_i]"),
    (116, "cm2"),
    (118, "cm"),
    (119, "[lb_av]/s"),
    (120, "[degF]"),
    (121, "K"),
    (122, "kOhm"),
    (123, "MOhm"),
    (124, "mV"),
    (125, "kJ/kg"),
    (126, "MJ"),
    (127, "J/K"),
    (128, "J/(kg.K)"),
    (129, "kHz"),
    (130, "MHz"),
    (131, "/h"),
    (132, "mW"),
    (133, "hPa"),
    (134, "mbar"),
    (135, "m3/h"),
    (136, "L/h"),
    (137, "kWh/m2"),
    (139, "MJ/m2"),
    (141, "W/(m2.K)"),
    (142, "[cft_i]/s"),
    (145, "mOhm"),
    (146, "MWh"),
    (149, "kJ/kg"),
    (150, "MJ/kg"),
    (151, "kJ/K"),
    (152, "MJ/K"),
    (153, "N"),
    (154, "g/s"),
    (155, "g/min"),
    (156, "t/h"),
    (158, "cs"),
    (159, "ms"),
    (160, "N.m"),
    (161, "mm/s"),
    (162, "mm/min"),
    (163, "m/min"),
    (164, "m/h"),
    (165, "m3/min"),
    (166, "m/s2"),
    (167, "A/m"),
    (168, "A/m2"),
    (169, "A.m2"),
    (170, "F"),
    (171, "H"),
    (172, "Ohm.m"),
    (173, "S"),
    (174, "S/m"),
    (175, "T"),
    (176, "V/K"),
    (177, "V/m"),
    (178, "Wb"),
    (179, "cd"),
    (180, "cd/m2"),
    (181, "K/h"),
    (182, "K/min"),
    (184, "rad/s"),
    (186, "kg/m3"),
    (188, "N/m"),
    (189, "W/(m.K)"),
    (190, "uS"),
    (191, "[cft_i]/h"),
    (192, "[gal_us]/h"),
    (193, "km"),
    (194, "um"),
    (195, "g"),
    (196, "mg"),
    (197, "mL"),
    (198, "mL/s"),
    (199, "dB"),
    (202, "mS"),
    (203, "varh"),
    (204, "kvarh"),
    (205, "Mvarh"),
    (206, "mm[H2O]"),
    (207, "[ppth]"),
    (210, "g/kg"),
    (212, "mg/kg"),
    (214, "g/L"),
    (215, "mg/L"),
    (216, "ug/L"),
    (217, "g/m3"),
    (218, "mg/m3"),
    (219, "ug/m3"),
    (220, "ng/m3"),
    (222, "Bq"),
    (232, "dB(A)"),
    (233, "[NTU]"),
    (234, "[pH]"),
    (235, "g/m2"),
    (238, "A.s"),
    (239, "VAh"),
    (240, "kVAh"),
    (241, "MVAh"),
    (242, "varh"),
    (243, "kvarh"),
    (244, "Mvarh"),
    (247, "J/h"),
    (249, "m3/d"),
    (250, "Wh/m3"),
    (251, "J/m3"),
    (253, "Pa.s"),
];

/// Other spellings of the same unit.
const SAME: &[(&str, &str)] = &[
    ("°C", "Cel"),
    ("degC", "Cel"),
    ("°F", "[degF]"),
    ("degF", "[degF]"),
    ("°", "deg"),
    ("Ω", "Ohm"),
    ("m²", "m2"),
    ("m³", "m3"),
    ("m³/h", "m3/h"),
    ("l/s", "L/s"),
    ("l/min", "L/min"),
    ("l/h", "L/h"),
    ("l", "L"),
    ("lux", "lx"),
    ("ppm", "[ppm]"),
    ("ppb", "[ppb]"),
    ("psi", "[psi]"),
    ("inH2O", "[in_i'H2O]"),
    ("[in_i'H20]", "[in_i'H2O]"),
    ("inHg", "[in_i'Hg]"),
    ("cfm", "[cft_i]/min"),
    ("{rpm}", "rpm"),
    ("1/min", "/min"),
    ("{RH}", "%RH"),
    ("%{RH}", "%RH"),
];

/// What a device says its values are measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// It says that it says nothing.
    None,
    /// This.
    Known(&'static str),
    /// A number that has no name here.
    Unknown,
}

impl Unit {
    /// The unit with this number.
    pub(crate) fn from_number(number: u32) -> Self {
        let found = UNITS.iter().find(|(own, _)| *own == number);
        match found {
            Some((_, name)) => Self::Known(name),
            None if number == NO_UNITS => Self::None,
            None => Self::Unknown,
        }
    }

    /// A number that stands for the unit of a point.
    pub(crate) fn number_of(point: &str) -> Option<u32> {
        UNITS.iter().find(|(_, name)| *name == same(point)).map(|(number, _)| *number)
    }

    /// Whether values of this unit may stand for those of a point: a device that says nothing, or what nobody knows, is not contradicted.
    /// Nothing is converted: whoever changes the unit of a device gets bad readings rather than a step in the same series.
    pub(crate) fn fits(self, point: &str) -> bool {
        match self {
            Self::None | Self::Unknown => true,
            // Humidity is a share of a hundred, however it is written.
            Self::Known("%RH") if same(point) == "%" => true,
            Self::Known(name) => point.is_empty() || same(point) == name,
        }
    }
}

fn same(unit: &str) -> &str {
    SAME.iter().find(|(other, _)| *other == unit).map_or(unit, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are those of the conventions sheet, which has them from `bacenum.h`.
    #[test]
    fn numbers_have_the_units_of_the_standard() {
        for (number, unit) in [
            (0, "m2"),
            (2, "mA"),
            (3, "A"),
            (4, "Ohm"),
            (5, "V"),
            (8, "VA"),
            (9, "kVA"),
            (11, "var"),
            (14, "deg"),
            (18, "Wh"),
            (19, "kWh"),
            (27, "Hz"),
            (29, "%RH"),
            (37, "lx"),
            (47, "W"),
            (48, "kW"),
            (49, "MW"),
            (53, "Pa"),
            (54, "kPa"),
            (55, "bar"),
            (56, "[psi]"),
            (58, "[in_i'H2O]"),
            (62, "Cel"),
            (63, "K"),
            (64, "[degF]"),
            (71, "h"),
            (72, "min"),
            (73, "s"),
            (84, "[cft_i]/min"),
            (87, "L/s"),
            (96, "[ppm]"),
            (98, "%"),
            (104, "rpm"),
            (135, "m3/h"),
        ] {
            assert_eq!(Unit::from_number(number), Unit::Known(unit), "{number}");
        }
        assert_eq!(Unit::from_number(95), Unit::None);
        assert_eq!(Unit::from_number(60_000), Unit::Unknown);
    }

    #[test]
    fn a_point_fits_its_own_unit_however_it_is_written_and_no_other() {
        for (number, point, fits) in [
            (62, "°C", true),
            (62, "Cel", true),
            (64, "°C", false),
            (62, "[degF]", false),
            (62, "K", false),
            (62, "", true),
            (95, "°C", true),
            (60_000, "°C", true),
            (29, "%", true),
            (98, "%", true),
            (29, "Cel", false),
            (48, "W", false),
        ] {
            assert_eq!(Unit::from_number(number).fits(point), fits, "{number} {point}");
        }
    }

    #[test]
    fn each_number_is_there_once() {
        let numbers: std::collections::BTreeSet<_> = UNITS.iter().map(|(number, _)| number).collect();
        assert_eq!(numbers.len(), UNITS.len());
    }
}
