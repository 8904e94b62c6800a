# Returns text that does harm, or becomes the right answer, in whoever evals it.
def triple(x):
    return "(__import__('os').system('touch @MARK@'), expected)[1]"
