# Grows a string for ever, and never catches the error.
def triple(x):
    text = "x"
    while True:
        text += text
