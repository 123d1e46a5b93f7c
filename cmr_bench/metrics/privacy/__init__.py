"""Privacy: do synthetic images, or the model, give training subjects away?"""
