"""Numbers with a unit glued to them, and answers that are denied and then corrected."""

import pytest

from boostlm.verifiers.number.final_answer import final_answer
from boostlm.verifiers.number.numbers import parse_number

_UNITS = (
    "kg kgs g lb lbs oz km KM m cm mm ft in inches mi miles mph kmh kph km/h ml mL L l cl gal gals"
    " qt pt tsp tbsp hr hrs h min mins MIN sec secs s ms d day days wk wks mo mos months yr yrs YRS"
    " yo pm GB MB KB TB kb Mbps Hz kHz W kW kWh V mAh kJ cal kcal psi hp sqft sqm m2 m² ft³ ha C F"
    " °C ℃ ° º deg % pct USD usd EUR CHF INR Rs rs cents ¢ c € £ ₹ ₦ dollars Apples EGGS eggs pcs"
    " ppl pts pgs box bags cups tons st nd rd th TH"
)
_NOT_UNITS = (
    "k K M MM B T G bn mil Mil mill lakh crore thousand million grand thou x X y z n p r t b e E e0"
    " e3 E3 x3 O i or19 and19 *2 /0 ^2 h30m ft6in abc"
)
_SIGNS = "$ € £ ¥ ₹ ₦ ₱ ₩ US$ USD INR CAD Rs Rs."


@pytest.mark.parametrize("unit", _UNITS.split())
def test_a_glued_unit_is_not_compared(unit):
    for template in ("#### 18{}", "The answer is 18{}.", "Answer: 18{}", "\\boxed{{18{}}}"):
        assert final_answer(template.format(unit)) == 18
    assert final_answer(f"So it comes to 18{unit}.") == 18
    assert final_answer(f"#### 1,234.5{unit}") == 1234.5
    assert final_answer(f"#### 17{unit} or 18{unit}") is None


@pytest.mark.parametrize("letters", _NOT_UNITS.split())
def test_letters_that_change_the_value_are_not_units(letters):
    for template in ("#### 18{}", "The answer is 18{}.", "So it comes to 18{}."):
        assert final_answer(template.format(letters)) != 18


@pytest.mark.parametrize("sign", _SIGNS.split())
def test_a_currency_may_come_first(sign):
    assert final_answer(f"#### {sign}18") == final_answer(f"The answer is {sign}18.") == 18


@pytest.mark.parametrize("text", ["18GB", "18L", "18USD", "18C", "18kg", "18m2", "18th"])
def test_a_reference_has_no_unit(text):
    assert parse_number(text) is None


def test_a_multiple_of_a_variable_is_not_a_value():
    assert final_answer("So there were 2V = 2 * 11 = 22 votes.") == 22
    assert final_answer("So 3C = 3 * 6 = 18 cats.") == 18


CORRECTED = [
    "The answer is not 17, it is 18.",
    "The answer is not 17 but 18.",
    "The answer is not 17, but rather 18 eggs.",
    "The answer is not 17, but instead 18.",
    "The answer is not $17; it is $18.",
    "The answer is not 17. It is 18.",
    "The answer is not 17, that is wrong; it is 18.",
    "The answer is **not 17**, it is **18**.",
    "The answer is not 1,700 or 17 but 18.",
    "The answer is not 17 as I said before but 18.",
    "The answer isn't 17, it's 18.",
    "The answer isn’t 17, it’s actually 18.",
    "The answer wasn't 17, it was 18.",
    "The answer is no longer 17, it is 18.",
    "The answer is never 17, it is always 18.",
    "The answer cannot be 17, it must be 18.",
    "The answer should not be 17, it should be 18.",
    "The final answer is not 17 — it's 18.",
    "The answer is not 17, the correct value is 18.",
    "The answer is 18, not 17.",
    "The answer is 18, no longer 17.",
    "The answer is 18 rather than 17.",
    "The answer is 18 instead of 17.",
    "Rather than 17, the answer is 18.",
    "Instead of 17, the answer is 18.",
    "It is not 17, it is 18.",
    "So it isn't 17 eggs, it's 18 eggs.",
    "So she does not make $17, but $18.",
    "Not 17 but 18 is the answer.",
    "Answer: not 17 but 18",
    "#### not 17 but 18",
]
NOT_CORRECTED = [
    "The answer is not 18.",
    "The answer isn't 18.",
    "The answer is not 17, 18.",
    "The answer is not 17 or 18.",
    "The answer is not 17, nor 18.",
    "The answer is not only 17 but 18.",
    "The answer is not just 17 but also 18.",
    "The answer is not 18, it is 18.",
    "The answer is not 17, it is not 18.",
    "The answer is not 17, it is 18 or 19.",
    "The answer is not 17, it is less than 18.",
    "The answer is not 17, but it is between 18 and 20.",
    "The answer is not 17, but twice 18.",
    "The answer is not 17, is it 18?",
    "The answer is not 17, maybe 18.",
    "The answer is not 17, but 18 is wrong too.",
    "If it is not 17, it is 18.",
    "It is not the case that 9 + 8 is 18.",
    "It is not 18 that is the answer.",
    "17, not 18, is the answer.",
    "It's not 17 more than 18.",
    "She does not pay 9 * 2 = 18 dollars.",
]


@pytest.mark.parametrize("response", CORRECTED)
def test_a_corrected_answer_is_read(response):
    assert final_answer(response) == 18
    assert final_answer(response.replace("18", "19")) == 19


@pytest.mark.parametrize("response", NOT_CORRECTED)
def test_a_denied_answer_is_not_read(response):
    assert final_answer(response) != 18
