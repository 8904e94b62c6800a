# Returns a list and a dict that contain themselves.
def triple(x):
    value = [1]
    value.append(value)
    mapping = {"value": value}
    mapping["self"] = mapping
    return mapping
